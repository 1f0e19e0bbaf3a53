"""Values for valid files, and values that break programs; all chosen by a seed."""

import random
from dataclasses import dataclass
from typing import Any

SAMPLES = {
    "backend": ["scripted", "scripted", "openai", "local-gpu"],
    "base_model": ["acme/base", "../models/tiny", "gpt-4.1-nano-2025-04-14"],
    "base_models": ["../models/tiny", "acme/base"],
    "base_url": ["http://127.0.0.1:9/v1", "https://eu.example.com/v1"],
    "api_key_env": ["EU_KEY", "OPENAI_API_KEY"],
    "token_env": ["EU_TOKEN"],
    "account": ["acme"],
    "subscription": ["0000-11"],
    "resource_group": ["acme"],
    "sku": ["Standard"],
    "endpoint": ["default", "eu"],
    "launcher": ["slurm"],
    "machine": ["eu"],
    "memory": ["64GB", "512 MiB"],
    "runs": ["/shared/ftctl", "s3://bucket/runs"],
    "path": ["data/faq.csv", "data/chat.jsonl", "data/*.csv", "data/chat.*"],
    "url": ["https://example.com/rows.jsonl", "s3://bucket/rows.parquet"],
    "sql": ["SELECT question, answer FROM faq ORDER BY id"],
    "connection": ["FAQ_DATABASE"],
    "hub": ["acme/faq"],
    "revision": ["0123456789abcdef0123456789abcdef01234567"],
    "encoding": ["utf-8", "cp949", "utf-16-le", "shift_jis"],
    "delimiter": [",", ";", "\t"],
    "user": ["question"],
    "assistant": ["answer"],
    "where": [
        "score >= 4",
        "status == approved",
        "status in [approved, 'a, b']",
        "score not in [1]",
    ],
    "gate": ["held_out_loss < 3", "held_out_loss < base.held_out_loss - 0.5", "stop_rate >= 0.5"],
    "pattern": ["[A-Z]{2}[0-9]+", "^(yes|no)$"],
    "pii_regions": ["KR", "DE"],
    "licenses": ["MIT", "CC-BY-4.0"],
    "license": ["MIT", "CC-BY-4.0"],
    "pin": ["sha256:0123"],
    "group_by": ["customer"],
    "stratify_by": ["status", "assistant"],
}
"""Valid texts of keys that do not allow every text."""
OF_METRICS: dict[str, Any] = {
    "promptfoo": {"inline": {"defaultTest": {"assert": [{"type": "contains", "value": "a"}]}}},
    "json_schema": {"inline": {"type": "object"}},
}
"""Valid settings of metrics whose rules a schema does not state."""
OF_HYPERPARAMETERS: dict[str, Any] = {
    "num_train_epochs": 2,
    "learning_rate": 1e-4,
    "r": 8,
    "lora_alpha": 16,
    "target_modules": ["q_proj"],
    "target_parameters": ["experts.down_proj"],
    "exclude_modules": ".*down_proj",
    "layers_to_transform": [0],
    "modules_to_save": ["lm_head"],
    "chat_template": "chatml",
    "max_length": 64,
    "n_epochs": 2,
    "batch_size": "auto",
    "beta": 0.1,
    "grader": {
        "type": "string_check",
        "name": "a",
        "operation": "eq",
        "input": "a",
        "reference": "b",
    },
}


@dataclass(frozen=True, slots=True)
class Raw:
    """A value that is written into a file unchanged."""

    text: str


HOSTILE: list[Any] = [
    None, True, False, 0, -1, 1, 1.5, -0.0, 1e308, 10**25, -(10**25), 2**63, 2**64 - 1, 2**70,
    10**400, "", " ", "\t", "\n", "a" * 100, "a" * 5_000, " " * 20_000, "a " * 3_000, "\0", "\x1b[2J",
    "\u202e", "\ud800", "\udfff\ud800", "\ufeff", "\x85", "\U0001f600", "가", "../../../etc/passwd",
    "/etc/passwd", "data/../../x.csv", "./", "..", "~", "*", "**/*", "data/[", "data/[a-", "data/\0",
    "a/" * 2_000, "x" * 300, "%s", "{}", "{0}", "{x!r}", "${HOME}", "$(id)", "[bold]", "[/x]", "`a`",
    "null", "true", "1", "1e5", "=1", "<<", "!!python/object:os.system", "__class__", "__proto__",
    [], {}, [[]], [{}], {"": ""}, {"a": {"b": {"c": {}}}}, [None], ["a", 1, None, {"b": []}],
    {"<<": {"owner": "me"}}, ["a"] * 500, {f"k{n}": n for n in range(500)},
    "punycode", "rot13", "hex", "idna", "unicode_escape", "undefined", "mbcs", "raw_unicode_escape",
    "zlib", "utf-7", "utf_8_sig", "utf-32", "base64_codec", "palmos", "big5", "\x00utf8", "utf 8",
    "(a+)+$", "(?P<a", "(a{1,1000}){1,1000}", "(?i", "a{99999999999}", "\\", "[", "(" * 200 + ")" * 200,
    "score >= " + "9" * 5_000, "score >= 1e999999999999", "score == nan", "a in [" + "a," * 5_000 + "]",
    "a" + " " * 20_000 + "x", "held_out_loss < 1e999", "a < b" * 2_000, "' " * 3_000,
    "accuracy > " + "1" * 10_000, ">" * 5_000, "openai", "scripted", "local-gpu", "1970-01-01",
]  # fmt: skip
SYNTAX = [
    "<<: {owner: me}", "<<: *a", "<<: [1]", "<<:", "&a 1", "*a", "&a [*a]", "!!int 'x'", "!!int 1",
    "!!float x", "!!binary aGk=", "!!binary '!'", "!!set {a}", "!!omap [a: 1]", "!!null a", "!!bool x",
    "!!timestamp 2001-01-01", "!x y", "!<tag:a> b", "!!python/name:os.system", "!!str", "!!seq {}",
    "!!map []", "! a", "---", "...", "%YAML 1.1\n---", "%TAG ! !!", "- - - -", "? a", "? [a, b]\n: c",
    "? {a: b}\n: c", ": b", "{", "}", "[", "]", "[[[[", "{{{{", "{a: {b: {c: d}}}", "[a, b", "{a",
    "'", '"', "|", ">", "|9", ">-\n x", "|+\n\n", "#", " # x", "\t", "\ta: b", "@", "`", "%", "&", "*",
    "!", "\x00", "\x07", "\ufeff", "\u2028", "\x85", "\xa0", ".inf", "-.INF", ".nan", ".NaN", "1e999",
    "-1e999", "0x1F", "0o17", "0b11", "0xg", "0o9", "1_000", "1:30:00", "012", "+1", "1.", ".5", "1e5",
    "2001-01-01", "2001-12-14t21:59:43.10-05:00", "~", "null", "Null", "NULL", "yes", "on", "=", "1" + "0" * 25,
    "1" * 5_000, "0x" + "f" * 5_000, "0o" + "7" * 5_000, "." + "1" * 5_000, "1" * 400 + ".0", "- " * 100,
    "[" * 60, "{a: " * 60, "a: &x [b, b]\nc: [*x, *x]", '"\\ud800"', '"\\0"', '"\\x1b[2J"', '"\\q"',
    '"\\U00110000"', '"\\UFFFFFFFF"', '"\\', "''''", "a: b: c", "1: 2", "true: 1", "~: 1", "1.5: 1",
    "? |\n  a\n: b", "a" * 1_100 + ": 1",
]  # fmt: skip
"""Pieces of YAML with a special meaning."""
BYTES = [b"\xff", b"\xfe\xff", b"\xff\xfe", b"\xef\xbb\xbf", b"\x00", b"\xc0\x80", b"\xed\xa0\x80",
         b"\r", b"\r\n", b"\n", b"\x0c", b"\x1b", b"\xe2\x80\xa8", b"\xf4\x90\x80\x80", b"PK\x03\x04"]  # fmt: skip


def damaged(rng: random.Random, text: bytes, pieces: list[bytes]) -> bytes:
    """Return a file with some of its bytes flipped, cut, doubled or moved, or others inserted."""
    for _ in range(rng.choice([1, 1, 1, 2, 3, 8])):
        change = rng.choice([_with_other_bytes, _with_other_bytes, _with_other_lines])
        text = change(rng, text, pieces)
    return text


def _with_other_bytes(rng: random.Random, text: bytes, pieces: list[bytes]) -> bytes:
    at, until = sorted((rng.randint(0, len(text)), rng.randint(0, len(text))))
    short = min(until, at + rng.choice([1, 2, 8, 64]))
    match rng.randrange(7):
        case 0 if at < len(text):
            return text[:at] + bytes([text[at] ^ 1 << rng.randrange(8)]) + text[at + 1 :]
        case 1:
            return text[:at] + rng.randbytes(rng.choice([1, 2, 4])) + text[short:]
        case 2:
            return text[:at] + text[short:]
        case 3:
            return text[:at] + text[at:short] * rng.choice([2, 3, 50]) + text[short:]
        case 4:
            return text[:at]
        case 5:
            return text[:at] + rng.choice(BYTES) + text[at:]
    return text[:at] + rng.choice(pieces) + text[at:]


def _with_other_lines(rng: random.Random, text: bytes, pieces: list[bytes]) -> bytes:
    lines = text.split(b"\n")
    at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    match rng.randrange(3):
        case 0:
            lines[at], lines[other] = lines[other], lines[at]
        case 1:
            lines.insert(other, lines[at])
        case _:
            lines.insert(at, b" " * rng.choice([0, 0, 2, 4, 6]) + rng.choice(pieces))
    return b"\n".join(lines)
