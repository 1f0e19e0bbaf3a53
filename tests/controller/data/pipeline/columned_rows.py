"""Rows with columns that an evaluation wants, in files of every format."""

import json

from hypothesis import strategies as st

WANTED = {"lang": "evaluation.slices[0]", "customer": "evaluation.group_by"}
NAMED = {"user": "q", "assistant": "a"}
LANGS = ("ko", "en", "日本語")


def some_rows(count: int = 60) -> list[dict]:
    return [
        {"q": f"질문 {n}?", "a": f"답 {n}", "lang": LANGS[n % 3], "customer": n // 4}
        for n in range(count)
    ]


def as_csv(rows: list[dict], delimiter: str = ",") -> str:
    lines = [delimiter.join(rows[0]), *(delimiter.join(map(str, row.values())) for row in rows)]
    return "\n".join(lines) + "\n"


def as_jsonl(rows: list[dict]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def as_messages(row: dict) -> dict:
    asked, answered = (
        {"role": "user", "content": row["q"]},
        {"role": "assistant", "content": row["a"]},
    )
    return {"messages": [asked, answered], "lang": row["lang"], "customer": row["customer"]}


def number_in(text: str) -> int:
    """Return the number that the question of an example was made with."""
    return int(text.partition("질문 ")[2].partition("?")[0])


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text("ab가환\u1112\u116a\u11ab \r\n\"'\\{}[]TRUEtrue017.-", max_size=6),
)
