"""Tokens of examples: counted, limited, and refused where the model cannot read them."""

import json

import pytest

from backends.contract.inspector import Limits
from backends.testing.words import WordInspector
from tests.controller.data.built import examples


def test_tokens_are_counted_and_long_examples_dropped_when_asked(repository, chat_lines):
    long = {
        "messages": [
            {"role": "user", "content": "길어"},
            {"role": "assistant", "content": "x " * 99},
        ]
    }
    repository.write("a.jsonl", chat_lines + json.dumps(long))

    words = WordInspector()
    prepare = {"max_tokens": 50, "over_length": "drop"}
    dataset = repository.build("a.jsonl", prepare=prepare, inspector=words)
    assert dataset.train.tokens == sum(words.count(examples(dataset.train.path)))
    [step] = [step for step in dataset.report.steps if step.name == "max_tokens"]
    assert (step.kept, step.dropped) == (40, 1)
    assert step.reasons == ("finetunes/a.jsonl:41: 108 tokens, more than 50",)
    (problem,) = repository.problems("a.jsonl", prepare={"max_tokens": 50}, inspector=words)
    assert (problem.line, problem.message) == (41, "108 tokens; at most 50 are allowed")


def test_what_the_model_cannot_read_is_refused_or_cut_there(repository, chat_lines):
    long = {
        "messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "x " * 99}]
    }
    repository.write("a.jsonl", chat_lines + json.dumps(long))
    refuses = WordInspector(limits=Limits(max_tokens=50))
    (problem,) = repository.problems("a.jsonl", inspector=refuses)
    assert (problem.line, problem.message) == (
        41,
        "108 tokens, and the base model reads at most 50",
    )
    allowed = {"max_tokens": 200}
    assert repository.problems("a.jsonl", inspector=refuses, prepare=allowed)[0].line == 41
    cuts = WordInspector(limits=Limits(max_tokens=50, truncates=True), warned=("other key",))
    repository.write("a.jsonl", chat_lines + json.dumps(long) + "\n")
    dataset = repository.build("a.jsonl", inspector=cuts)
    [step] = [step for step in dataset.report.steps if step.name == "max_tokens"]
    assert (step.dropped, step.noted) == (0, 1)
    assert dataset.train.examples + dataset.held_out.examples == 41


class WordyInspector(WordInspector):
    """An inspector with a template that begins with a preamble and indents definitions of tools."""

    def count(self, examples):
        """Return words, and 300 tokens of preamble, and two for each byte of a tool."""
        tools = (len(json.dumps(one["tools"])) if "tools" in one else 0 for one in examples)
        return [300 + n + 2 * size for n, size in zip(super().count(examples), tools, strict=True)]


@pytest.mark.parametrize(
    ("answer", "tools", "refused"),
    [("x " * 99, 0, None), ("x " * 220, 0, 529), ("x", 1, None), ("x", 5, 1430)],
)
def test_what_a_template_writes_by_itself_counts_as_well(
    repository, chat_lines, answer, tools, refused
):
    function = {"name": "look_up", "parameters": {"type": "object", "properties": {}}}
    tool = {"type": "function", "function": function}
    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": answer}]
    long = {"messages": messages} | ({"tools": [tool] * tools} if tools else {})
    repository.write("a.jsonl", chat_lines + json.dumps(long) + "\n")
    longest = 1024 if tools else 520
    inspector = WordyInspector(limits=Limits(max_tokens=longest))
    if refused is None:
        dataset = repository.build("a.jsonl", inspector=inspector)
        assert dataset.train.examples + dataset.held_out.examples == 41
    else:
        (problem,) = repository.problems("a.jsonl", inspector=inspector)
        said = f"{refused} tokens, and the base model reads at most {longest}"
        assert (problem.line, problem.message) == (41, said)


def test_nothing_is_counted_without_a_counter(repository, chat_lines):
    repository.write("a.jsonl", chat_lines)
    assert repository.build("a.jsonl").train.tokens is None


class RowsInspector(WordInspector):
    """An inspector that reads both answers of a pair apart, as the local trainer does."""

    identity = "rows"

    def longest(self, examples):
        return [count * 2 // 3 for count in self.count(examples)]


def test_limits_are_for_the_longest_text_of_an_example_and_totals_for_all(repository):
    pairs = [{"prompt": f"q{n} {'w ' * n}", "chosen": "a", "rejected": "b"} for n in range(40)]
    repository.write("a.jsonl", "".join(json.dumps(row) + "\n" for row in pairs))
    build = {"method": "dpo", "prepare": {"max_tokens": 40, "over_length": "drop"}}
    whole = repository.build("a.jsonl", inspector=WordInspector(), **build)
    apart = repository.build("a.jsonl", inspector=RowsInspector(), **build)
    assert apart.train.examples > whole.train.examples
    counts = WordInspector().count(
        [json.loads(line) for line in apart.train.path.read_text().splitlines()]
    )
    assert 40 < max(counts) <= 60
    assert apart.train.tokens == sum(counts)
    refuses = RowsInspector(limits=Limits(max_tokens=30))
    told = [one.message for one in repository.problems("a.jsonl", inspector=refuses, method="dpo")]
    assert all(
        "tokens, and the base model reads at most 30" in one for one in told if "more" not in one
    )
