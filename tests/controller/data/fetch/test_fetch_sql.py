"""Databases as sources: SQLite files, and a PostgreSQL that really runs."""

import json
import os
import signal
import sqlite3
import sys
import threading
import time
from pathlib import Path

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.data.errors import DataError, SourceUnavailable
from controller.data.fetch import fetch
from controller.data.fetch.row_writer import RowWriter
from controller.data.fetch.snapshot import FetchRequest
from controller.spec.data import Source
from tests.children import child

ROOT = Path(__file__).parents[4]
NAME = "FAQ_DATABASE_URL"
SECRET = "tiger-한글-secret"
ROWS = [(1, "주말에도 문 여나요?", "네, 10시부터입니다."), (2, "주차 되나요?", None)]


class Shop:
    """A repository, and what its environment says."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.snapshots = root / ".ftctl" / "data" / "snapshots"
        self.url = "sqlite:///data/faq.db"

    def fetch(self, sql: str, url: str | None = None, connection: str = NAME):
        return fetch(
            FetchRequest(
                source=Source(sql=sql, connection=connection),
                root=self.root,
                snapshots=self.snapshots,
                environment={NAME: url or self.url},
            )
        )

    def rows(self, sql: str, url: str | None = None) -> list[dict]:
        return [json.loads(line) for line in self.fetch(sql, url).path.read_bytes().splitlines()]

    def refused(self, sql: str, url: str | None = None, kind: type = DataError):
        with pytest.raises(kind) as caught:
            self.fetch(sql, url)
        assert not self.left(), "nothing half is left"
        return caught.value

    def written(self) -> bool:
        """Say whether a snapshot is on its way."""
        return sum(part.stat().st_size for part in self.snapshots.glob(".fetch-*")) > 1 << 20

    def left(self) -> list[str]:
        return [path.name for path in self.snapshots.glob("*") if path.is_file()]


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    (tmp_path / "data").mkdir()
    with sqlite3.connect(tmp_path / "data" / "faq.db") as database:
        database.execute("CREATE TABLE faq (id INTEGER, question TEXT, answer TEXT)")
        database.executemany("INSERT INTO faq VALUES (?, ?, ?)", ROWS)
    database.close()
    return Shop(tmp_path)


# As long as the server: a worker may come back to this module.
@pytest.fixture(scope="session")
def postgres(postgres_server):
    with psycopg.connect(postgres_server["url"], autocommit=True) as connection:
        connection.execute("CREATE TABLE faq (id int, question text, answer text)")
        for row in ROWS:
            connection.execute("INSERT INTO faq VALUES (%s, %s, %s)", row)
        connection.execute("CREATE SEQUENCE counter")
        connection.execute(f"CREATE ROLE guest LOGIN PASSWORD '{SECRET}'")
    return postgres_server["url"]


def test_a_query_gives_its_rows_in_its_columns_order(shop):
    fetched = shop.fetch("SELECT question, id, answer FROM faq ORDER BY id")
    assert fetched.display_path == "sql FAQ_DATABASE_URL"
    assert fetched.format == "jsonl"
    assert fetched.path.read_text(encoding="utf-8") == (
        '{"question":"주말에도 문 여나요?","id":1,"answer":"네, 10시부터입니다."}\n'
        '{"question":"주차 되나요?","id":2,"answer":null}\n'
    )


def test_the_same_content_is_one_file_that_is_written_once(shop, postgres):
    query = "SELECT question, answer FROM faq ORDER BY id;"
    first = shop.fetch(query).path
    written = first.stat().st_ctime_ns
    assert shop.fetch(query, postgres).path == first
    assert first.stat().st_ctime_ns == written
    first.write_text("broken")
    assert shop.fetch(query).path == first
    assert len(first.read_text(encoding="utf-8").splitlines()) == 2
    assert shop.left() == [first.name]


def test_what_a_killed_run_left_is_removed_once_it_is_old(shop):
    shop.snapshots.mkdir(parents=True)
    old, new = shop.snapshots / ".fetch-old", shop.snapshots / ".fetch-new"
    for path in (old, new):
        path.write_text("half")
    os.utime(old, (time.time() - 2 * 86400,) * 2)
    shop.fetch("SELECT * FROM faq")
    assert not old.exists()
    assert new.exists()


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT * FROM faqs", "no such table: faqs"),
        ("SELECT quesion FROM faq", "no such column: quesion"),
        ("SELECT FROM faq", 'near "FROM": syntax error'),
        ("SELECT id, question AS id FROM faq", "two columns are named 'id'"),
        ("SELECT * FROM faq WHERE id > 9", "the query returns no rows"),
        ("DELETE FROM faq RETURNING *", "the query begins with DELETE; it may only read"),
        ("/* SELECT */ -- SELECT\n DROP TABLE faq", "the query begins with DROP; it may only read"),
        (" -- nothing", "the query has no statement; it may only read"),
        ("PRAGMA table_info(faq)", "the query begins with PRAGMA; it may only read"),
        ("SELECT 1; DELETE FROM faq", "You can only execute one statement at a time."),
        ("WITH x AS (SELECT 1) DELETE FROM faq RETURNING *", "the query does more than read tables"),
        ("SELECT * FROM pragma_database_list", "the query does more than read tables"),
        ("SELECT load_extension('evil')", "the query does more than read tables"),
        ("SELECT 9e999 AS score", "column 'score' holds inf, which is not a JSON number"),
    ],
)  # fmt: skip
def test_what_sqlite_refuses_is_said_in_a_line(shop, query, message):
    before = (shop.root / "data" / "faq.db").read_bytes()
    error = shop.refused(query)
    assert error.message.startswith(message)
    assert error.remedy
    assert (shop.root / "data" / "faq.db").read_bytes() == before


def test_bytes_and_lengths_of_time_have_the_form_of_other_sources(shop, postgres):
    assert shop.rows("SELECT x'00ff' AS photo, x'6161' AS text") == [
        {"photo": "AP8=", "text": "aa"}
    ]
    query = "SELECT 'a'::bytea AS text, decode('00ff', 'hex') AS photo, '1 day'::interval AS wait"
    assert shop.rows(query, postgres) == [{"text": "a", "photo": "AP8=", "wait": 86_400.0}]


def test_a_bad_value_is_said_with_its_row(shop):
    error = shop.refused("SELECT 1 AS a UNION ALL SELECT 2 UNION ALL SELECT 9e999")
    assert error.line == 3


def test_a_query_may_hold_what_looks_like_a_parameter(shop, postgres):
    query = "SELECT ':id %s ? 100%' AS q FROM faq WHERE question LIKE '%주차%' AND answer IS NULL"
    assert shop.rows(query) == shop.rows(query, postgres) == [{"q": ":id %s ? 100%"}]


@pytest.mark.parametrize(
    ("url", "kind", "message"),
    [
        (" ", SourceUnavailable, "FAQ_DATABASE_URL is not set"),
        ("sqlite:///data/other.db", DataError, "FAQ_DATABASE_URL: there is no file 'data/other.db'"),
        ("sqlite:///data", DataError, "FAQ_DATABASE_URL: there is no file 'data'"),
        ("sqlite://", DataError, "FAQ_DATABASE_URL does not name a SQLite file"),
        ("sqlite:///:memory:", DataError, "FAQ_DATABASE_URL does not name a SQLite file"),
        ("sqlite:///file:x?mode=rwc&uri=true", DataError, "FAQ_DATABASE_URL does not name a SQLite file"),
        ("sqlite:///data/text.db", DataError, "FAQ_DATABASE_URL: file is not a database"),
        (f"postgresql:/me:{SECRET}", DataError, "FAQ_DATABASE_URL does not hold a database URL"),
        (f"postgresql://me:{SECRET}@127.0.0.1:x/y", DataError, "FAQ_DATABASE_URL does not hold a database URL"),
        (f"nosuch://me:{SECRET}@h/d", DataError, "FAQ_DATABASE_URL: nosuch:// is not a known database"),
        (f"mysql://me:{SECRET}@h/d", SourceUnavailable, "reading mysql needs the package MySQLdb"),
        (f"postgres://me:{SECRET}@127.0.0.1:1/d", SourceUnavailable, "FAQ_DATABASE_URL: no connection: connection failed: connection to server at"),
        (f"postgresql://me:{SECRET}@{'x' * 70}.com/d", SourceUnavailable, "FAQ_DATABASE_URL: no connection:"),
        (f"postgresql+asyncpg://me:{SECRET}@nowhere.invalid/d", SourceUnavailable, "FAQ_DATABASE_URL: no connection:"),
        (f"postgresql://me:{SECRET}@127.0.0.1/d?wrong={SECRET}", SourceUnavailable, "FAQ_DATABASE_URL: no connection: invalid connection option"),
    ],
)  # fmt: skip
def test_a_url_that_leads_nowhere_is_said_without_its_password(shop, url, kind, message):
    (shop.root / "data" / "text.db").write_text("no database at all" * 100)
    error = shop.refused("SELECT 1", url, kind)
    assert error.message.startswith(message)
    assert error.remedy
    assert SECRET not in error.message + error.remedy


def test_a_url_in_place_of_the_variables_name_is_not_shown(shop):
    with pytest.raises(DataError) as caught:
        shop.fetch("SELECT 1", connection=f"postgresql://me:{SECRET}@h/d")
    assert caught.value.field == "connection"
    assert SECRET not in str(caught.value)


def test_a_locked_sqlite_file_is_not_the_specs_fault(shop, monkeypatch):
    monkeypatch.setattr("controller.data.fetch.sql._CONNECT_S", 0)
    blocker = sqlite3.connect(shop.root / "data" / "faq.db", isolation_level=None)
    blocker.execute("BEGIN EXCLUSIVE")
    try:
        assert (
            "database is locked"
            in shop.refused("SELECT * FROM faq", kind=SourceUnavailable).message
        )
    finally:
        blocker.close()


def test_the_values_of_every_column_become_json(shop, postgres):
    query = """
        SELECT 1::bigint a, 1.50::numeric(10,2) b, 2.00::numeric(10,2) c, 7::numeric d, sum(3) e,
               true f, null g, 0.1::float8 h, '2026-11-20'::date i, '09:30'::time j,
               '2026-11-20 09:30'::timestamp k, '2026-11-20 09:30+09'::timestamptz l,
               '00000000-0000-0000-0000-000000000001'::uuid m, '{"답":[1,null,"네"]}'::jsonb n,
               ARRAY['가','나'] o, 123456789012345678901::numeric p, 'EUC'::varchar q,
               ('2026-11-20 09:30+09'::timestamptz)::text r
    """
    assert shop.rows(query, postgres) == [
        {
            "a": 1, "b": "1.50", "c": "2.00", "d": 7, "e": 3, "f": True, "g": None, "h": 0.1,
            "i": "2026-11-20", "j": "09:30:00", "k": "2026-11-20T09:30:00",
            "l": "2026-11-20T00:30:00+00:00", "m": "00000000-0000-0000-0000-000000000001",
            "n": {"답": [1, None, "네"]}, "o": ["가", "나"], "p": "123456789012345678901",
            "q": "EUC", "r": "2026-11-20 00:30:00+00",
        }
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT * FROM faqs", 'relation "faqs" does not exist'),
        ("SELECT quesion FROM faq", 'column "quesion" does not exist'),
        ("SELECT FROM WHERE", 'syntax error at or near "WHERE"'),
        ("SELECT id, question AS id FROM faq", "two columns are named 'id'"),
        ("SELECT * FROM faq WHERE false", "the query returns no rows"),
        ("DELETE FROM faq RETURNING *", "the query begins with DELETE"),
        ("SELECT 1; DELETE FROM faq", "cannot insert multiple commands into a prepared statement"),
        ("SELECT 1; COMMIT; DELETE FROM faq", "cannot insert multiple commands"),
        ("WITH x AS (DELETE FROM faq RETURNING *) SELECT * FROM x", "DECLARE CURSOR must not contain data-modifying"),
        ("SELECT nextval('counter')", "cannot execute nextval() in a read-only transaction"),
        ("SELECT set_config('transaction_read_only', 'off', false)", "transaction read-write mode must be set before any query"),
        ("SELECT * INTO copied FROM faq", "SELECT ... INTO is not allowed here"),
        ("SELECT * FROM faq FOR UPDATE", "cannot execute SELECT FOR UPDATE in a read-only transaction"),
        ("SELECT 'NaN'::float8 AS score", "column 'score' holds nan"),
        ("SELECT 'Infinity'::numeric AS score", "column 'score' holds Infinity"),
        ("SELECT '[1,2)'::int4range AS span", "column 'span' holds a value of type Range"),
        ("SELECT 'infinity'::timestamp AS t", "timestamp too large (after year 10K)"),
        ("SELECT 1/(id-2) FROM faq ORDER BY id", "division by zero"),
    ],
)  # fmt: skip
def test_what_postgresql_refuses_is_said_in_a_line(shop, postgres, query, message):
    error = shop.refused(query, postgres)
    assert error.message.startswith(message)
    assert error.remedy
    assert len(error.message.splitlines()) == 1
    with psycopg.connect(postgres) as connection:
        assert connection.execute("SELECT * FROM faq ORDER BY id").fetchall() == ROWS
        assert connection.execute("SELECT to_regclass('copied')").fetchone() == (None,)


@pytest.mark.parametrize(
    ("user", "message"),
    [
        (f"guest:{SECRET}x", 'password authentication failed for user "guest"'),
        (f"guest:{SECRET}", "the database cannot be read: permission denied for table faq"),
        ("nobody", 'role "nobody" does not exist'),
    ],
)
def test_a_login_that_may_not_read_is_not_the_specs_fault(shop, postgres, user, message):
    url = postgres.replace("postgres@", f"{user}@")
    error = shop.refused("SELECT * FROM faq", url, SourceUnavailable)
    assert message in error.message
    assert SECRET not in error.message


def test_a_korean_database_in_another_encoding_is_read(shop, postgres):
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("CREATE DATABASE korean ENCODING 'EUC_KR' TEMPLATE template0")
    url = postgres.replace("/postgres?", "/korean?")
    with psycopg.connect(url, client_encoding="utf8") as connection:
        connection.execute("CREATE TABLE faq (q text)")
        connection.execute("INSERT INTO faq VALUES ('영업 시간은요?')")
    assert shop.rows("SELECT q FROM faq", url) == [{"q": "영업 시간은요?"}]


def test_text_in_no_known_encoding_is_said(shop, postgres):
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("CREATE DATABASE bytes ENCODING 'SQL_ASCII' TEMPLATE template0")
    query = "SELECT 'a' AS q UNION ALL SELECT E'\\xbf\\xb5'"
    error = shop.refused(query, postgres.replace("/postgres?", "/bytes?"))
    assert error.message == 'invalid byte sequence for encoding "UTF8": 0xbf'
    broken = "SELECT CAST(x'bfb5' AS TEXT) AS q"
    assert shop.refused(broken).message.startswith("Could not decode to UTF-8 column 'q'")


def test_a_database_that_goes_away_in_the_middle_leaves_nothing(
    shop, mortal_postgres_server, eventually
):
    def kill_once_rows_come():
        eventually(shop.written)
        # At once, with everyone who is connected.
        os.kill(mortal_postgres_server["pid"], signal.SIGQUIT)

    killer = threading.Thread(target=kill_once_rows_come, daemon=True)
    killer.start()
    query = "SELECT generate_series(1, 50000000) AS n, repeat('가', 200) AS q"
    error = shop.refused(query, mortal_postgres_server["url"], SourceUnavailable)
    killer.join(10)
    assert error.message.startswith("the database stopped answering after ")
    assert " rows: " in error.message
    assert len(error.message.splitlines()) == 1


def test_a_run_that_is_killed_leaves_no_snapshot_and_the_next_one_is_whole(shop, eventually):
    endless = "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT n FROM t"
    program = (
        "import sys; from pathlib import Path; from controller.data.fetch import fetch\n"
        "from controller.data.fetch.snapshot import FetchRequest\n"
        "from controller.spec.data import Source\n"
        "root = Path(sys.argv[1])\n"
        f"fetch(FetchRequest(source=Source(sql={endless!r}, connection={NAME!r}), root=root,\n"
        f"    snapshots=Path(sys.argv[2]), environment={{{NAME!r}: {shop.url!r}}}))\n"
    )
    with child([sys.executable, "-c", program, shop.root, shop.snapshots], cwd=ROOT):
        eventually(shop.written)
    assert [name[:7] for name in shop.left()] == [".fetch-"]
    fetched = shop.fetch("SELECT * FROM faq")
    assert fetched.path.name in shop.left()


class Bytes:
    """A draft in memory."""

    def __init__(self) -> None:
        self.content = b""

    def write(self, content: bytes) -> None:
        self.content += content


@given(st.lists(st.tuples(st.text(st.characters(exclude_categories=["Cs"])), st.none() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)), min_size=1))  # fmt: skip
def test_text_and_numbers_read_back_as_they_were(rows):
    new_snapshot = Bytes()
    lines = RowWriter(["글", "n"], new_snapshot, field="sql")
    lines.add(rows)
    read = [json.loads(line) for line in new_snapshot.content.split(b"\n")[:-1]]
    assert read == [{"글": text, "n": number} for text, number in rows]
    assert lines.count == len(rows)


def test_wide_rows_are_fetched_a_few_at_once():
    lines = RowWriter(["q"], Bytes(), field="sql")
    lines.add([("x" * (1 << 20),)] * 64)
    assert lines.batch == 3
    for _ in range(20):
        lines.add([("x",)] * lines.batch)
    assert lines.batch == 2_000
