"""Bad data of every kind, as a user meets it: the sources, the command and its answer, golden."""

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
from controller.data.sources.source_file import SourceFile

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
PACKED = gzip.compress(ROWS.encode() * 40)
TEN = ",".join(f"c{n}" for n in range(10))
NOT_UTF8 = CHAT.encode() * 16 + CHAT.encode().replace("네".encode(), b"\xeb\x84") + CHAT.encode()

FILES = {
    "cut-off": ("cut-off.csv.gz", PACKED[: len(PACKED) // 2], TABLE),
    "not-utf8": ("not-utf8.jsonl", NOT_UTF8, ""),
    "latin": ("latin.csv", f"{ROWS}caf\u00e9,yes\n".encode("latin-1", "replace"), TABLE),
    "forced": ("forced.csv", ROWS, f"encoding: ascii, {TABLE}"),
    "nul": ("nul.csv", ROWS.replace("답 7.", "답\0 7."), TABLE),
    "fields": (
        "fields.csv",
        "\n".join([TEN, TEN, f"{TEN},c10", TEN.removesuffix(",c9"), TEN]),
        "columns: {user: c0, assistant: c1}",
    ),
    "twice": ("twice.csv", ROWS.replace("question,answer", "question,question"), TABLE),
    "deep": ("deep.jsonl", CHAT * 2 + DEEP, ""),
    "deep-array": ("deep.json", f"[{CHAT},\n{DEEP}]", ""),
    "no-parquet": ("rows.parquet", ROWS, TABLE),
    "cut-parquet": ("cut.parquet", b"PAR1" + b"\0" * 100 + b"PAR1", TABLE),
    "long-line": ("long.jsonl", CHAT * 4 + '{"prompt": "' + "a" * (2 << 20) + '"}\n' + CHAT, ""),
}
"""A file, and how the spec reads it."""
SOURCES = {
    "outside": [f"{{path: ../../secret.csv, {TABLE}}}"],
    "glob": [f"{{path: ../../*.csv, {TABLE}}}", f"{{path: data/none*.csv, {TABLE}}}"],
    "no-table": [f"{{sql: SELECT * FROM faqs, connection: FAQ_DB, {TABLE}}}"],
    "not-set": [f"{{sql: SELECT * FROM faq, connection: OTHER_DB, {TABLE}}}"],
    "no-store": [f"{{url: 's3://bucket/faq.csv', {TABLE}}}"],
    "unknown-store": [f"{{url: 'ftpx://host/faq.csv', {TABLE}}}"],
}
"""Sources without a file of their own."""


@pytest.fixture
def told(installed, shell, golden):
    """Return a function that types a command, and compares the answer with the golden one."""
    del installed

    def tell(name, *sources, command=("data", "build")):
        spec = "".join(f"    - {one}\n" for one in sources)
        shell.write(f"finetunes/{name}.yaml", SPEC.format(spec))
        typed = [*command, *([name] if command[0] == "data" else [])]
        code, answer = shell(*typed)
        shown = "\n".join(f"#   - {one}" for one in sources)
        text = f"{shown}\n$ ftctl {' '.join(typed)}\n{answer.rstrip()}\n(exit code {code})\n"
        text = text.replace(package_command("s3fs"), "pip install s3fs")
        text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT", text)
        text = re.sub(r"after [\d,]+ rows: .*", "after N rows: WHAT IT SAYS", text)
        assert "Traceback" not in text
        assert "defect of ftctl" not in text
        assert answer.count("\n") < 60
        assert not list((shell.root / ".ftctl").rglob(".fetch-*")), "nothing half is left"
        golden(f"data/bad-input/{name}.txt", text)

    return tell


@pytest.mark.parametrize("name", FILES)
def test_a_bad_file(told, shell, monkeypatch, name):
    monkeypatch.setattr(SourceFile, "MAX_ROW", 1 << 20)
    file, content, more = FILES[name]
    shell.write(f"finetunes/data/{file}", content)
    told(name, f"{{path: data/{file}{more and ', '}{more}}}")


@pytest.mark.parametrize("name", SOURCES)
def test_a_bad_source(told, shell, monkeypatch, name):
    with sqlite3.connect(shell.root / "faq.db") as database:
        database.execute("CREATE TABLE faq (question TEXT, answer TEXT)")
    database.close()
    monkeypatch.setenv("FAQ_DB", "sqlite:///faq.db")
    monkeypatch.delenv("OTHER_DB", raising=False)
    monkeypatch.setitem(sys.modules, "s3fs", None)
    (shell.root.parent / "secret.csv").write_text(ROWS)
    told(name, *SOURCES[name])


def test_a_link_out_of_the_repository(told, shell):
    outside = shell.root.parent / "secret.csv"
    outside.write_text(ROWS)
    (shell.root / "finetunes" / "data" / "link.csv").symlink_to(outside)
    told("link", f"{{path: data/link.csv, {TABLE}}}", command=("plan",))


def test_a_table_that_a_server_does_not_have(told, postgres_server, monkeypatch):
    monkeypatch.setenv("FAQ_DB", postgres_server["url"])
    told("no-table-there", f"{{sql: SELECT * FROM faqs, connection: FAQ_DB, {TABLE}}}")


def test_a_server_that_goes_away(told, shell, mortal_postgres_server, eventually, monkeypatch):
    monkeypatch.setenv("FAQ_DB", mortal_postgres_server["url"])
    snapshots = shell.root / ".ftctl" / "data" / "snapshots"

    def kill_once_rows_come():
        eventually(
            lambda: sum(part.stat().st_size for part in snapshots.glob(".fetch-*")) > 1 << 20
        )
        # At once, with everyone who is connected.
        os.kill(mortal_postgres_server["pid"], signal.SIGQUIT)

    killer = threading.Thread(target=kill_once_rows_come, daemon=True)
    killer.start()
    rows = "SELECT generate_series(1, 50000000) AS question, repeat(''a'', 400) AS answer"
    told("gone", f"{{sql: '{rows}', connection: FAQ_DB, {TABLE}}}")
    killer.join(10)


def test_a_file_that_changes_while_it_is_read(told, shell):
    path = shell.write("finetunes/data/changing.csv", ROWS)
    with serving(lambda: path.write_text(ROWS.replace("답 3.", "답 3!"))) as url:
        told("changing", f"{{path: data/changing.csv, {TABLE}}}", f"{{url: '{url}', {TABLE}}}")


@contextmanager
def serving(meanwhile):
    """Serve a table; at a request, the sources before it were inspected, and not yet read."""

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
