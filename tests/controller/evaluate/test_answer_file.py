"""The file of one model's answers: what is in it, and who writes it at once."""

import json
import math
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backends.contract.completions import Completion, Prompt, Sampling
from controller.evaluate.answer_file import (
    AnswerFile,
    AnswerKey,
    PromptKey,
    prompt_digest,
    prompt_key,
)
from tests.children import ROOT, child
from tests.controller.evaluate.kept_answers import ANSWER, KEY, PROMPT, asked

TOOLS = [{"type": "function", "function": {"name": "예약", "parameters": {"b": 1, "a": 2}}}]


def numbered(number):
    return PromptKey(*[number.to_bytes(32, "big")] * 2)


def file_of(store_folder):
    (path,) = store_folder.glob("*.jsonl")
    return path


def test_what_was_kept_is_read_back_to_the_last_field(tmp_path):
    AnswerFile(tmp_path, KEY).append(prompt_key(PROMPT), ANSWER)
    found = AnswerFile(tmp_path, KEY).read(prompt_key(PROMPT))
    # Half a character cannot be written as UTF-8.
    assert found == replace(
        ANSWER, text="네,\n엽니다. \u2028 ?", tool_calls=list(ANSWER.tool_calls)
    )
    assert found.latency_s == 1.0


@pytest.mark.parametrize("loss", [math.inf, -math.inf, math.nan, None, 0.0, 3.0])
def test_every_loss_is_kept_as_json(tmp_path, loss):
    AnswerFile(tmp_path, KEY).append(prompt_key(PROMPT), replace(ANSWER, reference_loss=loss))
    found = AnswerFile(tmp_path, KEY).read(prompt_key(PROMPT)).reference_loss
    assert found == loss or (math.isnan(found) and math.isnan(loss))
    for line in file_of(tmp_path).read_bytes().splitlines():
        json.loads(line, parse_constant=pytest.fail)


def test_the_first_line_says_whose_answers_they_are(tmp_path):
    sampling = Sampling(stop=["\n"], max_tokens=9, temperature=0.5, seed=3, thinking=True)
    AnswerFile(tmp_path, replace(KEY, sampling=sampling)).append(prompt_key(PROMPT), ANSWER)
    first = json.loads(file_of(tmp_path).read_text(encoding="utf-8").splitlines()[0])
    assert first["about"] == (
        "Answers of 카페 모델, drawn at temperature 0.5 with seed 3, up to 9 tokens, after "
        'thinking, up to one of the texts ["\\n"].'
    )
    assert first["model"] == "카페 모델"
    assert first["decoding"]["stop"] == ["\n"]


@pytest.mark.parametrize(
    "other",
    [
        asked("주말에도 문 여나요"),
        replace(PROMPT, tools=TOOLS),
        replace(PROMPT, tools=[TOOLS[0] | {"function": {"parameters": {}, "name": "예약"}}]),
        replace(PROMPT, reference={"role": "assistant", "content": "네"}),
        Prompt(messages=(), reference={"text": "주말"}),
    ],
)
def test_whatever_decides_an_answer_or_its_loss_is_in_the_digest(other):
    assert prompt_digest(other) != prompt_digest(PROMPT)
    assert prompt_digest(other) == prompt_digest(replace(other))


def test_the_order_of_keys_in_tools_counts():
    swapped = [{"type": "function", "function": dict(reversed(TOOLS[0]["function"].items()))}]
    assert swapped == TOOLS
    one, other = (prompt_digest(replace(PROMPT, tools=tools)) for tools in (TOOLS, swapped))
    assert one != other


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(max_tokens=7),
        Sampling(temperature=0.5),
        Sampling(seed=1),
        Sampling(stop=("\n",)),
        Sampling(thinking=True),
    ],
)
def test_another_decoding_is_another_file(sampling):
    assert replace(KEY, sampling=sampling).name != KEY.name
    assert AnswerKey("another", Sampling()).name != KEY.name


WRITER = """
import sys
from pathlib import Path
from backends.contract.completions import Completion, Sampling
from controller.evaluate.answer_file import AnswerFile, AnswerKey, PromptKey
file = AnswerFile(Path(sys.argv[1]), AnswerKey("shared", Sampling()))
for number in range(int(sys.argv[2]), 300, 2):
    text = f"{number} " * (number * 7)
    key = PromptKey(*[number.to_bytes(32, "big")] * 2)
    file.append(key, Completion(text=text, finish_reason="stop"))
"""


def test_two_processes_that_write_at_once_lose_nothing(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    arguments = [sys.executable, "-c", WRITER, str(tmp_path)]
    with (
        child([*arguments, "0"], env=environment) as first,
        child([*arguments, "1"], env=environment) as second,
    ):
        assert (first.wait(timeout=60), second.wait(timeout=60)) == (0, 0)
    file = AnswerFile(tmp_path, AnswerKey("shared", Sampling()))
    assert len(file_of(tmp_path).read_bytes().splitlines()) == 301
    for number in range(300):
        assert file.read(numbered(number)).text == f"{number} " * (number * 7)


def test_threads_with_files_of_their_own_wait_for_the_lock(tmp_path):
    barrier = threading.Barrier(4, timeout=20)

    def write(first):
        file = AnswerFile(tmp_path, KEY)
        barrier.wait(20)
        for number in range(first, 80, 4):
            file.append(numbered(number), ANSWER)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    file = AnswerFile(tmp_path, KEY)
    assert all(numbered(number) in file for number in range(80))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.builds(
        Completion,
        text=st.text(),
        finish_reason=st.sampled_from(["stop", "length"]),
        reference_loss=st.none() | st.floats(allow_nan=False),
        reference_tokens=st.integers(0, 10**6),
        thinking=st.text(),
        tool_calls=st.lists(st.dictionaries(st.text(), JSON, max_size=3), max_size=2),
        latency_s=st.none() | st.floats(0, 1e6),
        prompt_tokens=st.integers(0, 10**6),
    ),
    st.builds(PromptKey, *[st.binary(min_size=32, max_size=32)] * 2),
)
def test_any_answer_survives(tmp_path, completion, prompt):
    path = tmp_path / KEY.name
    path.unlink(missing_ok=True)
    AnswerFile(tmp_path, KEY).append(prompt, completion)
    found = AnswerFile(tmp_path, KEY).read(prompt)
    assert found == completion
    assert found.latency_s == completion.latency_s
