"""Every kind of bad data, as a user meets it: the spec, the command and what it says, golden."""

import gzip
import http.server
import json
import os
import re
import signal
import sqlite3
import sys
import threading
from contextlib import contextmanager

import pytest

from backends.installation import package_command

ROWS = "question,answer\n" + "".join(f"질문 {n}?,답 {n}.\n" for n in range(30))
TABLE = "columns: {user: question, assistant: answer}"
CHAT = (
    json.dumps(
        {
            "messages": [
                {"role": "user", "content": "문 여나요?"},
                {"role": "assistant", "content": "네."},
            ]
        },
        ensure_ascii=False,
    )
    + "\n"
)
SPEC = """\
backend: scripted
base_model: acme/base
data:
  train:
{}  held_out: {{fraction: 0.25}}
"""
DEEP = '{"prompt": "q", "completion": ' + "[" * 10_000 + "]" * 10_000 + "}\n"
LONG = 200 << 20


class Person:
    """Types a command, and keeps what was typed and said."""

    def __init__(self, shell, server, eventually) -> None:
        self.shell = shell
        self.server = server
        self.eventually = eventually
        self.seen = []

    def __call__(self, name, *sources, command=("data", "build")) -> None:
        spec = "".join(f"    - {one}\n" for one in sources)
        self.shell.write(f"finetunes/{name}.yaml", SPEC.format(spec))
        typed = [*command, *([name] if command[0] == "data" else [])]
        code, said = self.shell(*typed)
        (self.shell.root / "finetunes" / f"{name}.yaml").unlink()
        assert "Traceback" not in said
        assert said.count("\n") < 60
        shown = "\n".join(f"#   - {one}" for one in sources)
        self.seen.append(
            f"{shown}\n$ ftctl {' '.join(typed)}\n{said.rstrip()}\n(exit code {code})\n"
        )

    def path(self, name, file, content, more="", **said) -> None:
        self.shell.write(f"finetunes/data/{file}", content)
        self(name, f"{{path: data/{file}{more and ', '}{more}}}", **said)


def packings_and_encodings(person, _):
    packed = gzip.compress(ROWS.encode() * 40)
    person.path("cut-off", "cut-off.csv.gz", packed[: len(packed) // 2], TABLE)
    broken = CHAT.encode() * 16 + CHAT.encode().replace("네".encode(), b"\xeb\x84") + CHAT.encode()
    person.path("not-utf8", "not-utf8.jsonl", broken)
    person.path("latin", "latin.csv", f"{ROWS}caf\u00e9,yes\n".encode("latin-1", "replace"), TABLE)
    person.path("forced", "forced.csv", ROWS.encode(), f"encoding: ascii, {TABLE}")


def a_long_line(person, _):
    path = person.shell.write("finetunes/data/long.jsonl", CHAT * 4)
    with path.open("ab") as file:
        file.write(b'{"prompt": "')
        for _ in range(LONG >> 20):
            file.write(b"a" * (1 << 20))
        file.write(b'", "completion": "b"}\n' + CHAT.encode())
    person("long-line", "path: data/long.jsonl")
    path.unlink()


def tables(person, _):
    person.path("nul", "nul.csv", ROWS.replace("답 7.", "답\0 7."), TABLE)
    ten = ",".join(f"c{n}" for n in range(10))
    rows = [ten, ten, f"{ten},c10", ten.removesuffix(",c9"), ten]
    person.path("fields", "fields.csv", "\n".join(rows), "columns: {user: c0, assistant: c1}")
    person.path("twice", "twice.csv", ROWS.replace("question,answer", "question,question"), TABLE)


def formats(person, _):
    person.path("deep", "deep.jsonl", CHAT * 2 + DEEP)
    person.path("deep-array", "deep.json", f"[{CHAT},\n{DEEP}]")
    person.path("no-parquet", "rows.parquet", ROWS, TABLE)
    person.path("cut-parquet", "cut.parquet", b"PAR1" + b"\0" * 100 + b"PAR1", TABLE)


def places(person, _):
    outside = person.shell.root.parent / "secret.csv"
    outside.write_text(ROWS)
    (person.shell.root / "finetunes" / "data" / "link.csv").symlink_to(outside)
    person("outside", f"{{path: ../../secret.csv, {TABLE}}}")
    person("link", f"{{path: data/link.csv, {TABLE}}}", command=("plan",))
    person("glob", f"{{path: ../../*.csv, {TABLE}}}", f"{{path: data/none*.csv, {TABLE}}}")


def databases(person, monkeypatch):
    with sqlite3.connect(person.shell.root / "faq.db") as database:
        database.execute("CREATE TABLE faq (question TEXT, answer TEXT)")
    database.close()
    monkeypatch.setenv("FAQ_DB", "sqlite:///faq.db")
    monkeypatch.delenv("OTHER_DB", raising=False)
    person("no-table", f"{{sql: SELECT * FROM faqs, connection: FAQ_DB, {TABLE}}}")
    person("not-set", f"{{sql: SELECT * FROM faq, connection: OTHER_DB, {TABLE}}}")
    server = person.server
    monkeypatch.setenv("FAQ_DB", server["url"])
    person("no-table-there", f"{{sql: SELECT * FROM faqs, connection: FAQ_DB, {TABLE}}}")
    snapshots = person.shell.root / ".ftctl" / "data" / "snapshots"

    def kill_once_rows_come():
        person.eventually(
            lambda: sum(part.stat().st_size for part in snapshots.glob(".fetch-*")) > 1 << 20
        )
        # At once, with everyone who is connected.
        os.kill(server["pid"], signal.SIGQUIT)

    killer = threading.Thread(target=kill_once_rows_come, daemon=True)
    killer.start()
    rows = "SELECT n AS question, repeat(''a'', 400) AS answer FROM generate_series(1, 50000000) n"
    person("gone", f"{{sql: '{rows}', connection: FAQ_DB, {TABLE}}}")
    killer.join(10)


def addresses(person, monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    person("no-store", f"{{url: 's3://bucket/faq.csv', {TABLE}}}")
    person("unknown-store", f"{{url: 'ftpx://host/faq.csv', {TABLE}}}")


def a_source_that_changes(person, _):
    path = person.shell.write("finetunes/data/changing.csv", ROWS)
    with serving(lambda: path.write_text(ROWS.replace("답 3.", "답 3!"))) as url:
        person("changing", f"{{path: data/changing.csv, {TABLE}}}", f"{{url: '{url}', {TABLE}}}")


@contextmanager
def serving(meanwhile):
    """Serve a table; when it is asked for, the sources before it were looked at, and not yet read."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            meanwhile()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(ROWS.encode())

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/faq.csv"
        server.shutdown()
        thread.join(10)


@pytest.mark.usefixtures("installed")
def test_what_is_said_of_bad_input_is_golden(
    shell, golden, mortal_postgres_server, eventually, monkeypatch
):
    person = Person(shell, mortal_postgres_server, eventually)
    for group in (
        packings_and_encodings,
        a_long_line,
        tables,
        formats,
        places,
        databases,
        addresses,
        a_source_that_changes,
    ):
        group(person, monkeypatch)
    text = "\n".join(person.seen)
    text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT", text)
    text = text.replace(package_command("s3fs"), "pip install s3fs")
    text = re.sub(r"after [\d,]+ rows: .*", "after N rows: WHAT IT SAYS", text)

    assert "defect of ftctl" not in text
    assert not list((shell.root / ".ftctl").rglob(".fetch-*"))
    golden("data/bad-input.txt", text)
