"""Rows for the benchmarks: the same ones every time, no two alike, half Korean and half English.

Words are those of the small base model's corpus, and one in ten is coined, so that a tokenizer
meets words it has not seen, as it does in real text. About 110 tokens of the small base
a row, of which it has few words and many syllables.
"""

import csv
import json
import random
from collections.abc import Callable, Iterator
from itertools import chain, islice
from pathlib import Path

from backends.local_gpu.models import small_base_corpus

SENTENCES = 20_000
"""Sentences that rows are put together from."""
COINED = 0.1
SYSTEMS = (
    "당신은 카페 창업 컨설턴트입니다. 존댓말로 답하세요.",
    "",
    "Answer as the assistant of a small coffee shop.",
    "",
    "",
)
_SYLLABLES = "가나다라마바사아자차카타파하거너더러머버서어저처고노도로모보소오조초구누두루무부수우"
_SOUNDS = ("ba", "ce", "di", "fo", "gu", "la", "me", "ni", "po", "ru", "sa", "te", "vi", "zo")


def write_rows(path: Path, count: int, *, form: str = "chat", real: Path | None = None) -> int:
    """Write a file of rows without ever holding them.

    Args:
        path: The file.
        count: How many rows.
        form: `chat` or `sharegpt`.
        real: A folder with ChatbotData.csv and alpaca_en_demo.json somewhere below; their rows,
            each once, come first and are part of the count.

    Returns:
        How many bytes were written.
    """
    spell = _spell_chat if form == "chat" else _spell_sharegpt
    first = _real(real) if real is not None else ()
    with path.open("w", encoding="utf-8") as file:
        file.writelines(spell(*row) for row in islice(chain(first, _made()), count))
    return path.stat().st_size


def _made() -> Iterator[tuple[str, str, str]]:
    """Yield system, question and answer without end; none needs escaping in JSON."""
    chance = random.Random(0)
    pools = _sentences(chance)
    draw = chance.random
    number = 0
    while True:
        pool = pools[number % 2]
        first, second, third, fourth = (pool[int(draw() * len(pool))] for _ in range(4))
        number += 1
        yield (
            SYSTEMS[number % len(SYSTEMS)],
            f"{first} {second} (no. {number})",
            f"{third} {number % 997}. {fourth}",
        )


def _sentences(chance: random.Random) -> tuple[list[str], list[str]]:
    texts = [
        text
        for document in small_base_corpus.documents(0)
        for text in ([document] if isinstance(document, str) else [t["content"] for t in document])
    ]
    words = sorted({word.strip(".,?!\"'\\") for text in texts for word in text.split()} - {""})
    words = [word for word in words if '"' not in word and "\\" not in word]
    english = [word for word in words if word.isascii()]
    korean = [word for word in words if not word.isascii()]

    def made(known: list[str], coin: Callable[[], str], least: int, most: int) -> list[str]:
        return [
            " ".join(
                coin() if chance.random() < COINED else chance.choice(known)
                for _ in range(chance.randint(least, most))
            )
            for _ in range(SENTENCES // 2)
        ]

    return (
        made(korean, lambda: "".join(chance.choices(_SYLLABLES, k=3)), 3, 6),
        made(english, lambda: "".join(chance.choices(_SOUNDS, k=2)), 4, 7),
    )


def _spell_chat(system: str, user: str, assistant: str) -> str:
    told = f'{{"role": "system", "content": "{system}"}}, ' if system else ""
    return (
        f'{{"messages": [{told}{{"role": "user", "content": "{user}"}}, '
        f'{{"role": "assistant", "content": "{assistant}"}}]}}\n'
    )


def _spell_sharegpt(system: str, user: str, assistant: str) -> str:
    told = f'{{"from": "system", "value": "{system}"}}, ' if system else ""
    return (
        f'{{"conversations": [{told}{{"from": "human", "value": "{user}"}}, '
        f'{{"from": "gpt", "value": "{assistant}"}}]}}\n'
    )


def _real(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Yield no system prompt and each real question and answer once, escaped for JSON."""
    pairs: dict[tuple[str, str], None] = {}
    for path in sorted(folder.rglob("ChatbotData.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            pairs |= {(row["Q"], row["A"]): None for row in csv.DictReader(file)}
    for path in sorted(folder.rglob("alpaca_en_demo.json")):
        for row in json.loads(path.read_text(encoding="utf-8")):
            asked = "\n".join(text for text in (row["instruction"], row["input"]) if text)
            pairs[asked, row["output"]] = None
    for pair in pairs:
        if all(text.strip() for text in pair):
            user, assistant = (json.dumps(text, ensure_ascii=False)[1:-1] for text in pair)
            yield "", user, assistant
