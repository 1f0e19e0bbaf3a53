"""Datasets of the Hugging Face Hub as sources, from a hub on loopback that speaks its protocol.

The libraries read the hub's address once, when they are imported: each test asks in a process of
its own, once for all its cases.
"""

import hashlib
import http.server
import io
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
import pytest
from pyarrow import parquet

FIRST, SECOND = "1" * 40, "2" * 40
ROOT = Path(__file__).parents[4]
SECRET = "hf_s3cret"

PROGRAM = """
import json, sys
from pathlib import Path
from controller.data.fetch import fetch
from controller.data.errors import SourceUnavailable, DataError
from controller.spec.data import Source

folder = Path(sys.argv[1])
for line in sys.stdin:
    asked = json.loads(line)
    try:
        fetched = fetch(Source(**asked), folder=folder, root=folder, snapshots=folder / "snapshots",
                        environment=json.loads(sys.argv[2]))
    except (SourceUnavailable, DataError) as error:
        answer = {"kind": type(error).__name__, "message": error.message, "remedy": error.remedy}
    else:
        answer = {"shown": fetched.display_path, "kind": fetched.format,
                  "rows": [json.loads(row) for row in fetched.path.read_bytes().splitlines()]}
    print(json.dumps(answer), flush=True)
"""


def table(*questions: str) -> bytes:
    buffer = io.BytesIO()
    rows = {"question": list(questions), "label": [[1, None]] * len(questions)}
    parquet.write_table(pa.table(rows), buffer)
    return buffer.getvalue()


CARD = b"---\nconfigs:\n- config_name: ko\n  data_files: ko.jsonl\n- config_name: en\n  data_files: en.jsonl\n---\n"
REPOSITORIES = {
    "cafe/faq": {
        FIRST: {"data/train-0.parquet": table("주말에도 문 여나요?"), "data/test-0.parquet": table("주차?")},
        SECOND: {"data/train-0.parquet": table("주말에도 문 여나요?", "몇 시까지요?")},
    },
    "cafe/two": {SECOND: {"README.md": CARD, "ko.jsonl": '{"q":"네"}\n'.encode(), "en.jsonl": b'{"q":"yes"}\n'}},
    "cafe/broken": {SECOND: {"train.jsonl": b'{"q":1}\n{"q":\n'}},
    "cafe/script": {SECOND: {"script.py": b"open('owned', 'w')"}},
    "cafe/empty": {SECOND: {"notes.bin": b"-"}},
    "cafe/scores": {SECOND: {"train.parquet": b""}},
}  # fmt: skip


def scores() -> bytes:
    buffer = io.BytesIO()
    parquet.write_table(pa.table({"score": [float("nan")]}), buffer)
    return buffer.getvalue()


REPOSITORIES["cafe/scores"][SECOND]["train.parquet"] = scores()


class Hub(http.server.BaseHTTPRequestHandler):
    """What the libraries ask for: a commit, its tree, and the files."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def do_POST(self):
        self.body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.answer()

    def answer(self):
        path = unquote(self.path).partition("?")[0]
        self.server.asked.append(f"{self.command} {path}")
        api = re.fullmatch(
            r"/api/datasets/(\w+/\w+)(?:/(revision|tree|paths-info)/(\w+)(.*))?", path
        )
        file = re.fullmatch(r"/datasets/(\w+/\w+)/resolve/(\w+)/(.+)", path)
        found = api or file
        if found is None or found[1] not in REPOSITORIES:
            known = self.headers.get("authorization") == f"Bearer {SECRET}"
            return self.send(404 if known else 401, b"", {"X-Error-Code": "RepoNotFound"})
        commits = REPOSITORIES[found[1]]
        revision = (api[3] if api else file[2]) or "main"
        commit = SECOND if revision == "main" else revision
        if commit not in commits:
            return self.send(404, b"", {"X-Error-Code": "RevisionNotFound"})
        files = commits[commit]
        if file:
            return self.send_file(files.get(file[3]), commit)
        if api[2] == "tree":
            return self.send_json(tree(files, api[4].strip("/")))
        if api[2] == "paths-info":
            wanted = json.loads(self.body)["paths"]
            return self.send_json([one for one in tree(files, None) if one["path"] in wanted])
        siblings = [{"rfilename": name} for name in files]
        return self.send_json({"id": found[1], "sha": commit, "siblings": siblings, "tags": []})

    def send_json(self, value):
        self.send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def send_file(self, content, commit):
        if content is None:
            return self.send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
        headers = {"X-Repo-Commit": commit, "ETag": f'"{hashlib.sha1(content).hexdigest()}"'}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range", ""))
        if asked is None:
            return self.send(200, content, headers)
        start, end = int(asked[1]), min(int(asked[2] or len(content)), len(content) - 1)
        headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
        return self.send(206, content[start : end + 1], headers)

    def send(self, status, body, headers):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": len(body), "Connection": "close"}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def tree(files, below):
    entries = [
        {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
        for name, content in files.items()
    ]  # fmt: skip
    folders = {name.rpartition("/")[0] for name in files if "/" in name}
    entries += [{"type": "directory", "path": name, "size": 0, "oid": "0" * 40} for name in folders]
    return [one for one in entries if below is None or one["path"].startswith(below)]


@pytest.fixture
def hub():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as serving:
        serving.asked = []
        thread = threading.Thread(target=serving.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield serving
        serving.shutdown()
        thread.join(10)


@pytest.fixture
def ask(hub, tmp_path: Path):
    def ask_all(*sources: dict, token: str = "", endpoint: str | None = None, **environment):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, tmp_path, json.dumps({"HF_TOKEN": token})],
            input="".join(json.dumps(source) + "\n" for source in sources),
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith("HF_")},
                "HF_ENDPOINT": endpoint or f"http://127.0.0.1:{hub.server_port}",
                "HF_HOME": str(tmp_path / "home"),
                **environment,
            },
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=110,
        )
        assert done.returncode == 0, done.stderr
        assert SECRET not in done.stdout
        return [json.loads(line) for line in done.stdout.splitlines()]

    return ask_all


def test_splits_configurations_and_revisions_are_read(ask):
    newest, pinned, test, korean = ask(
        {"hub": "cafe/faq"},
        {"hub": "cafe/faq", "revision": FIRST},
        {"hub": "cafe/faq", "revision": FIRST, "split": "test"},
        {"hub": "cafe/two", "config": "ko"},
    )
    assert [row["question"] for row in newest["rows"]] == ["주말에도 문 여나요?", "몇 시까지요?"]
    assert newest["shown"] == "cafe/faq"
    assert newest["kind"] == "jsonl"
    assert pinned["rows"] == [{"question": "주말에도 문 여나요?", "label": [1, None]}]
    assert pinned["shown"] == f"cafe/faq@{FIRST}"
    assert [row["question"] for row in test["rows"]] == ["주차?"]
    assert test["shown"] == f"cafe/faq@{FIRST} test"
    assert korean["rows"] == [{"q": "네"}]


def test_what_is_known_of_a_commit_is_not_fetched_again(ask, hub):
    branch, pinned = {"hub": "cafe/faq"}, {"hub": "cafe/faq", "revision": FIRST}
    first = ask(branch, pinned)
    hub.asked.clear()
    assert ask(branch, pinned) == first
    asked = [one for one in hub.asked if "datasets" in one]
    assert asked == ["GET /api/datasets/cafe/faq"], "only which commit is the newest"
    assert ask(pinned, endpoint="http://127.0.0.1:1") == first[1:], "no network is needed"


def test_a_dataset_cannot_read_files_of_this_machine(ask, tmp_path, monkeypatch):
    secret = tmp_path / "secret.jsonl"
    secret.write_text('{"password": "1234"}\n')
    for name, place in (("cafe/path", secret), ("cafe/url", f"file://{secret}")):
        card = f"---\nconfigs:\n- config_name: default\n  data_files: {place}\n---\n".encode()
        files = {"README.md": card, "train.jsonl": b"{}\n"}
        monkeypatch.setitem(REPOSITORIES, name, {SECOND: files})
    for answer in ask({"hub": "cafe/path"}, {"hub": "cafe/url"}):
        assert answer["kind"] == "DataError"
        assert "Data files don't belong to cafe/" in answer["message"]


def test_what_a_dataset_lacks_is_said_with_what_it_has(ask, tmp_path):
    cases = [
        ({"hub": "cafe/faq", "revision": "v9"}, "DataError", "the dataset cafe/faq has no revision 'v9'", "Name a commit"),
        ({"hub": "cafe/faq", "split": "tests", "revision": FIRST}, "DataError", "has no split 'tests'", "Did you mean `test`? Use one of: train, test."),
        ({"hub": "cafe/two"}, "DataError", "Config name is missing. Please pick one among the available configs: ['ko', 'en']", ""),
        ({"hub": "cafe/two", "config": "fr"}, "DataError", "BuilderConfig 'fr' not found. Available: ['ko', 'en']", ""),
        ({"hub": "cafe/broken"}, "DataError", "cafe/broken: JSON parse", ""),
        ({"hub": "cafe/script"}, "DataError", "Dataset scripts are no longer supported", ""),
        ({"hub": "cafe/empty"}, "DataError", "cafe/empty: No (supported) data files found", ""),
        ({"hub": "cafe/scores"}, "DataError", "column 'score' holds nan, which is not a JSON number", ""),
        ({"hub": "cafe/none"}, "SourceUnavailable", "dataset cafe/none does not exist, or you need to log in", "HF_TOKEN"),
        ({"hub": "../etc"}, "DataError", "'../etc' is not a dataset's name", "hub: owner/name"),
        ({"hub": "/etc"}, "DataError", "'/etc' is not a dataset's name", "hub: owner/name"),
        ({"hub": "a/b/c"}, "DataError", "'a/b/c' is not a dataset's name", "hub: owner/name"),
    ]  # fmt: skip
    answers = ask(*[case[0] for case in cases])
    for (source, kind, message, remedy), answer in zip(cases, answers, strict=True):
        assert answer["kind"] == kind, (source, answer)
        assert message in answer["message"], (source, answer)
        assert remedy in answer["remedy"], (source, answer)
        assert answer["remedy"], (source, answer)
    assert [path.name for path in tmp_path.glob("snapshots/*") if path.is_file()] == []
    (found,) = ask({"hub": "cafe/none"}, token=SECRET)
    assert found["kind"] == "DataError"


@pytest.mark.parametrize("environment", [{}, {"HF_HUB_OFFLINE": "1"}])
def test_without_network_the_data_is_not_read(ask, environment):
    (answer,) = ask({"hub": "cafe/faq"}, endpoint="http://127.0.0.1:1", **environment)
    assert answer["kind"] == "SourceUnavailable"
    assert answer["message"].startswith("cafe/faq cannot be read: ")
