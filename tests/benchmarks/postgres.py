"""Rows a second and memory of a query as a source: 100,000 rows and ten times as many.

Starts a real PostgreSQL and a SQLite file with the same Korean questions and answers (about 300
bytes each). Every reading is a process of its own, whose peak memory the kernel counts; a process
that only imports what they import is shown for comparison.

    python tests/benchmarks/postgres.py
"""

import argparse
import json
import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psycopg

from controller.data.fetch import fetch
from controller.data.fetch.snapshot import FetchRequest
from controller.spec.data import Source
from tests.servers.postgres_server import running

VARIABLE = "FAQ_DATABASE_URL"
QUESTION = "%s번 지점은 주말에도 문을 여나요? 주차할 곳이 있는지도 궁금합니다."
ANSWER = (
    "네, 토요일과 일요일에는 오전 10시부터 오후 9시까지 엽니다. 건물 뒤에 %s대를 세울 수 있어요."
)
COUNTS = (0, 100_000, 1_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What reading cost."""

    seconds: float
    peak_mb: float
    size_mb: float


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--url", help="for the processes that are measured")
    arguments.add_argument("--rows", type=int, default=0)
    given = arguments.parse_args()
    if given.url:
        print(json.dumps(asdict(read(given.url, given.rows))))
        return
    print(f"{'':12}{'rows':>10}{'rows/s':>10}{'MB/s':>8}{'peak MB':>9}")
    with tempfile.TemporaryDirectory() as name, running() as server:
        url = server["url"]
        fill_postgres(url, max(COUNTS))
        file = Path(name) / "faq.db"
        fill_sqlite(file, max(COUNTS))
        for kind, place in (("postgresql", url), ("sqlite", f"sqlite:///{file}")):
            for rows in COUNTS:
                show(kind, rows, measured(place, rows))


def read(url: str, rows: int) -> Measured:
    """Fetch so many rows in this process."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        query = f"SELECT * FROM faq LIMIT {max(rows, 1)}"
        began = time.perf_counter()
        fetched = fetch(
            FetchRequest(
                source=Source(sql=query, connection=VARIABLE),
                root=folder,
                snapshots=folder / "snapshots",
                environment={VARIABLE: url},
            )
        )
        seconds = time.perf_counter() - began
        size = fetched.path.stat().st_size
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Measured(seconds=seconds, peak_mb=peak / 1024, size_mb=size / 1e6)


def measured(url: str, rows: int) -> Measured:
    """Fetch in another process."""
    done = subprocess.run(
        [sys.executable, __file__, "--url", url, "--rows", str(rows)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    return Measured(**json.loads(done.stdout))


def show(kind: str, rows: int, cost: Measured) -> None:
    """Print one line."""
    if not rows:
        print(f"{kind:12}{1:10,}{'':18}{cost.peak_mb:9.0f}")
        return
    per_s, mb_per_s = rows / cost.seconds, cost.size_mb / cost.seconds
    print(f"{kind:12}{rows:10,}{per_s:10,.0f}{mb_per_s:8.0f}{cost.peak_mb:9.0f}", flush=True)


def fill_postgres(url: str, rows: int) -> None:
    """Write the table."""
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE faq (id int, question text, answer text)")
        connection.execute(
            "INSERT INTO faq SELECT n, replace(%s, '%%s', n::text), replace(%s, '%%s', n::text) "
            "FROM generate_series(1, %s) AS n",
            (QUESTION, ANSWER, rows),
        )


def fill_sqlite(file: Path, rows: int) -> None:
    """Write the same table."""
    connection = sqlite3.connect(file)
    connection.execute("CREATE TABLE faq (id INTEGER, question TEXT, answer TEXT)")
    connection.executemany(
        "INSERT INTO faq VALUES (?, ?, ?)",
        ((n, QUESTION % n, ANSWER % n) for n in range(1, rows + 1)),
    )
    connection.commit()
    connection.close()


if __name__ == "__main__":
    main()
