"""Damage data files of every format, and check the output of the data commands.

    python -m tests.fuzz.data_files --count 3000 --seed 1
    python -m tests.fuzz.data_files --only 4711        # one case again, its file and output shown

A case is identified by its number: the same number gives the same case.
"""

import argparse
import csv
import gzip
import io
import json
import random
import shutil
import sys
import zipfile
from collections.abc import Callable
from typing import Any
from xml.sax.saxutils import escape

import pyarrow as pa
from pyarrow import parquet

from tests.fuzz.harness import Outcome, defects, print_tally, run_cases
from tests.fuzz.repository import SPEC, Repository, repository
from tests.fuzz.values import damaged
from tests.fuzz.yaml_text import changed, written

AFRESH = 200
"""Number of cases after which to remove the state folder, which holds built datasets."""
_NAMES = ["alpha", "가나다", "e@x.kr", "010-1234-5678", "  b  ", "<b>c</b>", "1", "긴 글 " * 40]
_PIECES = [
    b"\t", b",", b'"', b'""', b"'", b"{", b"}", b"[", b"]", b":", b"\\", b"\\u0000", b"\\ud800", b"null",
    b"1e999", b"9" * 5_000, b"[" * 3_000, b'{"a":' * 3_000, b"NaN", b"<", b"</p>", b"<table>", b"<td",
    b"<script>", b"<!--", b"<![CDATA[", b"&#0;", b"&#x110000;", b"&amp", b"```", b"---\n", b"# ",
    b"\n\n\n", b" " * 5_000, b"a" * 20_000, b"<p>" * 3_000, b"\r", b'{"messages": []}', b"version https://",
]  # fmt: skip
_MESSAGES = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]


def rows_of(rng: random.Random, *, flat: bool) -> list[dict[str, Any]]:
    """Return rows of a recognised shape; flat rows hold only texts."""
    count = rng.choice([1, 12, 12, 30])
    named = [f"{rng.choice(_NAMES)} {n}" for n in range(count)]
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
    shapes: list[Callable[[str], dict[str, Any]]] = [
        lambda name: {"messages": [{"role": "system", "content": "s"}, *_MESSAGES, {"role": "user", "content": name},
                                   {"role": "assistant", "content": name, "weight": 1}]},
        lambda name: {"prompt": name, "completion": f"answer {name}"},
        lambda name: {"instruction": name, "input": "", "output": f"answer {name}"},
        lambda name: {"conversations": [{"from": "human", "value": name}, {"from": "gpt", "value": "a"}]},
        lambda name: {"question": name, "answer": f"answer {name}", "score": "1.5"},
        lambda name: {"messages": [{"role": "user", "content": name}, {"role": "assistant", "tool_calls": [call]},
                                   {"role": "tool", "tool_call_id": "c1", "content": "1"}, _MESSAGES[1]],
                      "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]},
        lambda name: {"prompt": name, "chosen": "good", "rejected": "bad"},
        lambda name: {"text": name * 3},
    ]  # fmt: skip
    shape = rng.choice(shapes)
    while flat and not all(isinstance(value, str) for value in shape("a").values()):
        shape = rng.choice(shapes)
    return [shape(name) for name in named]


def jsonl_of(rows: list[Any]) -> bytes:
    """Return rows as JSON lines."""
    return b"".join(json.dumps(row, default=str).encode() + b"\n" for row in rows)


def json_of(rows: list[Any]) -> bytes:
    """Return rows as one JSON array."""
    return json.dumps(rows, default=str, indent=1).encode()


def _table(rows: list[Any], delimiter: str) -> bytes:
    names, cells = _cells(rows)
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=delimiter)
    writer.writerows([names, *cells])
    return file.getvalue().encode(errors="surrogatepass")


def _cells(rows: list[Any]) -> tuple[list[str], list[list[str]]]:
    names = [str(name) for name in rows[0]] if rows and isinstance(rows[0], dict) else ["a"]
    return names, [
        [_cell(value) for value in row.values()] for row in rows if isinstance(row, dict)
    ]


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def parquet_of(rows: list[Any]) -> bytes:
    """Return rows as Parquet, with text columns if the values have no common type."""
    try:
        table = pa.Table.from_pylist(rows)
    except (pa.ArrowException, TypeError, ValueError, OverflowError, AttributeError, UnicodeError):
        names, cells = _cells(rows)
        clean = [
            [cell.encode(errors="replace").decode() for cell in row[: len(names)]] for row in cells
        ]
        table = pa.Table.from_pylist(
            [dict(zip(names, row, strict=False)) for row in clean] or [{"a": "b"}]
        )
    file = io.BytesIO()
    try:
        parquet.write_table(table, file, compression="snappy")
    except (pa.ArrowException, NotImplementedError):
        parquet.write_table(pa.table({"question": ["a"], "answer": ["b"]}), file)
    return file.getvalue()


def workbook_of(rows: list[Any]) -> bytes:
    """Return rows as a workbook."""
    names, cells = _cells(rows)
    lines = "".join(
        f'<row r="{number}">'
        + "".join(f'<c t="inlineStr"><is><t>{escape(_plain(cell))}</t></is></c>' for cell in line)
        + "</row>"
        for number, line in enumerate([names, *cells], 1)
    )
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    links = "http://schemas.openxmlformats.org/package/2006/relationships"
    kind = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    parts = {
        "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>',
        "_rels/.rels": f'<Relationships xmlns="{links}"><Relationship Id="r1" '
        f'Type="{kind}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{kind}"><sheets>'
        '<sheet name="a" sheetId="1" r:id="r1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{links}"><Relationship Id="r1" Type="{kind}/worksheet" Target="worksheets/s.xml"/></Relationships>',
        "xl/worksheets/s.xml": f'<worksheet xmlns="{main}"><sheetData>{lines}</sheetData></worksheet>',
    }
    return _zipped({name: text.encode() for name, text in parts.items()})


def _plain(text: str) -> str:
    return "".join(letter for letter in text if letter.isprintable())


def _zipped(parts: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in parts.items():
            out.writestr(name, content)
    return file.getvalue()


def html_of(rows: list[Any]) -> bytes:
    """Return rows as a page with paragraphs and a table."""
    names, cells = _cells(rows)
    lines = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in line) + "</tr>"
        for line in [names, *cells]
    )
    texts = "".join(f"<p>{cell}</p>" for line in cells for cell in line)
    page = f"<html><body><article><h1>x</h1>{texts}</article><table>{lines}</table></body></html>"
    return page.encode(errors="surrogatepass")


def prose_of(rows: list[Any]) -> bytes:
    """Return rows as paragraphs."""
    _, cells = _cells(rows)
    return "\n\n".join(cell for line in cells for cell in line).encode(errors="surrogatepass")


WRITERS: dict[str, Callable[[list[Any]], bytes]] = {
    "jsonl": jsonl_of,
    "json": json_of,
    "csv": lambda rows: _table(rows, ","),
    "tsv": lambda rows: _table(rows, "\t"),
    "parquet": parquet_of,
    "xlsx": workbook_of,
    "html": html_of,
    "md": prose_of,
    "txt": prose_of,
}


def bombs(*names: str) -> dict[str, bytes]:
    """Return small files that expand to gigabytes, or that take quadratic time."""
    makers: dict[str, Callable[[], bytes]] = {
        "blanks.xlsx": lambda: _zipped({"xl/a.xml": b"<a>" + b" " * (700 << 20)}),
        "blanks.jsonl.gz": lambda: gzip.compress(b" " * (300 << 20)),
        "zeros.csv.gz": lambda: gzip.compress(bytes(100 << 20)),
        "line.txt.gz": lambda: gzip.compress(b"a" * (100 << 20)),
        "deep.json": lambda: b"[" * 2_000_000,
        "deep.jsonl": lambda: b'{"a":' * 500_000 + b"\n",
        "rows.parquet": lambda: _parquet(
            pa.array(["a"] * 200_000).dictionary_encode(), pa.nulls(200_000)
        ),
        "value.parquet": lambda: _parquet(["a" * (90 << 20)], ["b"]),
        "cells.csv": lambda: b"," * 300_000 + b"\n" + b"," * 300_000,
        "tags.html": lambda: b"<div>" * 300_000,
        "cells.html": lambda: b"<table>" + b"<tr><td colspan=65534 rowspan=65534>" * 200,
        "row.html": lambda: b"<table><tr>" + b"<td>x" * 75_000,
    }
    return {name: makers[name]() for name in names or makers}


def _parquet(question: Any, answer: Any) -> bytes:
    file = io.BytesIO()
    parquet.write_table(
        pa.table({"question": question, "answer": answer}), file, compression="zstd"
    )
    return file.getvalue()


def source_of(rng: random.Random, ending: str) -> dict[str, Any]:
    """Return a source for a file, with keys that change how it is read."""
    source: dict[str, Any] = {}
    draws = {
        "encoding": ["utf-8", "cp949", "utf-16-le", "latin-1", "utf-32", "shift_jis", "utf-7"],
        "format": [
            "jsonl",
            "json",
            "csv",
            "tsv",
            "parquet",
            "excel",
            "html",
            "markdown",
            "text",
            "arrow",
        ],
        "delimiter": [",", ";", "\t", '"', "\n", "가"],
        "sheet": ["a", "b"],
        "extract": ["tables", "text"],
        "chunk": ["paragraph", "line", 100],
        "where": [["score >= 1"], ["question != x"], ["a in [b]"]],
        "limit": [1, 3],
        "sample": [{"examples": 2}, {"fraction": 0.5}],
        "columns": [{"user": "question", "assistant": "answer"}, {"text": "text"}],
        "shape": ["chat", "alpaca", "text", "preference", "sharegpt", "graded"],
    }
    for key, values in draws.items():
        if rng.random() < (0.5 if key == "extract" and ending == "html" else 0.03):
            source[key] = rng.choice(values)
    if "columns" in source:
        source.pop("shape", None)
    return source


def spec_of(rng: random.Random, source: dict[str, Any], method: str) -> dict[str, Any]:
    """Return a spec with one source."""
    prepare = {
        "strip_html": True, "collapse_whitespace": True, "drop_empty": True, "deduplicate": "near",
        "pii": rng.choice(["mask", "warn", "reject"]), "max_tokens": 64, "over_length": "truncate",
    }  # fmt: skip
    return {
        "backend": "scripted",
        "base_model": "acme/base",
        "method": method,
        "data": {
            "train": [source],
            "held_out": {"fraction": 0.3},
            "prepare": {key: value for key, value in prepare.items() if rng.random() < 0.3},
        },
    }


def case_of(rng: random.Random, ending: str) -> tuple[bytes, dict[str, Any]]:
    """Return a file with damaged rows or bytes (or both), and its spec."""
    rows = rows_of(rng, flat=ending not in {"jsonl", "json", "parquet"})
    keys = rows[0].keys()
    source = source_of(rng, ending)
    if "question" in keys and not source.keys() & {"columns", "shape"}:
        source["columns"] = {"user": "question", "assistant": "answer"}
    method = "dpo" if "chosen" in keys else "supervised"
    is_text = "text" in keys or (
        ending in {"html", "md", "txt"} and source.get("extract") != "tables"
    )
    if is_text:
        method = "continued-pretraining"
        source.pop("columns", None)
    how = rng.randrange(3)
    if how:
        damaged_rows = changed(rng, rows, raw=False)
        rows = damaged_rows if isinstance(damaged_rows, list) else [damaged_rows]
    content = WRITERS[ending](rows)
    if how != 1:
        content = damaged(rng, content, _PIECES)
    if ending == "xlsx" and rng.random() < 0.3:
        content = _inside(rng, workbook_of(rows))
    return content, spec_of(rng, source, method)


def _inside(rng: random.Random, workbook: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(workbook)) as parts:
        contents = {name: parts.read(name) for name in parts.namelist()}
    name = rng.choice(list(contents))
    return _zipped(contents | {name: damaged(rng, contents[name], _PIECES)})


def packed_of(rng: random.Random, content: bytes) -> tuple[str, bytes]:
    """Return the content packed or unpacked, with or without damage to the packing."""
    if rng.random() < 0.8:
        return "", content
    ending = rng.choice([".gz", ".zst"])
    packed = (
        gzip.compress(content) if ending == ".gz" else pa.compress(content, "zstd", asbytes=True)
    )
    return ending, damaged(rng, packed, _PIECES) if rng.random() < 0.5 else packed


def run_case(seed: int, repo: Repository) -> tuple[str, Outcome, list[str]]:
    """Run a case; return its format, its outcome and its defects."""
    rng = random.Random(seed)
    if seed % AFRESH == 0:
        shutil.rmtree(repo.root / ".ftctl", ignore_errors=True)
    ending = rng.choice(list(WRITERS))
    content, spec = case_of(rng, ending)
    packing, content = ("", content) if ending == "xlsx" else packed_of(rng, content)
    name = f"x.{ending}{packing}"
    spec["data"]["train"][0]["path"] = f"data/{name}"
    for old in (repo.root / "finetunes/data").glob("x.*"):
        old.unlink()
    repo.put(f"finetunes/data/{name}", content)
    return ending, *_read(rng, repo, spec)


def run_bomb(name: str, content: bytes, repo: Repository) -> tuple[str, Outcome, list[str]]:
    """Run the case of a file that needs more resources than the machine has."""
    repo.put(f"finetunes/data/{name}", content)
    columns = {"path": f"data/{name}", "columns": {"user": "question", "assistant": "answer"}}
    try:
        return name, *_read(
            random.Random(0), repo, spec_of(random.Random(3), columns, "supervised")
        )
    finally:
        (repo.root / "finetunes/data" / name).unlink()


def _read(rng: random.Random, repo: Repository, spec: dict[str, Any]) -> tuple[Outcome, list[str]]:
    repo.put(SPEC, written(spec).encode())
    commands = [["build", "faq"], ["stats", "faq"], ["stats", "faq", "--json"], ["preview", "faq"]]
    outcome = repo.run("data", *rng.choice(commands))
    return outcome, defects(outcome)


def main() -> int:
    """Run many cases, or repeat one case."""
    parser = argparse.ArgumentParser(description="Damage data files of every format.")
    parser.add_argument("--count", type=int, default=3_000, help="how many cases")
    parser.add_argument("--seed", type=int, default=1, help="the first case's number")
    parser.add_argument("--only", type=int, help="show this case alone")
    given = parser.parse_args()
    with repository() as repo:
        if given.only is None:
            seeds = range(given.seed, given.seed + given.count)
            tally = run_cases(lambda seed: run_case(seed, repo), seeds, verbose=True)
            files = list(bombs().items())
            run_cases(
                lambda at: run_bomb(*files[at], repo), range(len(files)), tally=tally, verbose=True
            )
            return print_tally(tally)
        kind, outcome, wrong = run_case(given.only, repo)
        (file,) = (repo.root / "finetunes/data").glob("x.*")
        sys.stdout.write(
            f"--- {file.name}\n{file.read_bytes()!r}\n--- {SPEC}\n{(repo.root / SPEC).read_text()}"
        )
        sys.stdout.write(
            f"--- {kind}: exit code {outcome.code}\n{outcome.out}{outcome.err}--- {wrong}\n"
        )
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
