"""What users of other programs have to know, by how these programs read the same questions."""

from importlib import import_module
from types import SimpleNamespace

import pytest

from backends.contract.errors import BackendError

pytestmark = pytest.mark.torch
QUESTIONS = [[1, 2], [3]]
OTHER = [[1, 2, 9], [3, 9]]
ON = "Ask it in llama.cpp with `chat_template_kwargs: {enable_thinking: true}`: so it was trained."
OFF = ON.replace("true", "false")
OTHERWISE = (
    "llama.cpp renders prompts otherwise than the training did, as with a template that writes "
    "today's date. Compare its prompts with `ftctl data preview`."
)


@pytest.fixture(scope="module")
def consumers():
    return import_module("backends.local_gpu.export.consumers")


@pytest.fixture(scope="module")
def answers_of():
    llama = import_module("backends.local_gpu.export.gguf_file").LlamaAnswers

    def make(prompts=(), read=QUESTIONS, answers=((5,), (6,))):
        return llama(version="xllamacpp 1", answers=answers, prompts=prompts, read=read, starts=())

    return make


def export_of(*, chat=True):
    return SimpleNamespace(chat=object() if chat else None, questions=QUESTIONS)


@pytest.mark.parametrize(
    ("default", "off", "on", "note"),
    [
        (QUESTIONS, OTHER, OTHER, None),
        (QUESTIONS, QUESTIONS, QUESTIONS, None),
        (OTHER, QUESTIONS, OTHER, OFF),
        (OTHER, QUESTIONS, QUESTIONS, OFF),
        (OTHER, OTHER, QUESTIONS, ON),
        (OTHER, OTHER, OTHER, OTHERWISE),
        # All questions count: one that is read otherwise is enough.
        ([QUESTIONS[0], OTHER[1]], [OTHER[0], QUESTIONS[1]], QUESTIONS, ON),
        ([QUESTIONS[0], None], QUESTIONS, OTHER, OFF),
        ([None, None], [None, None], [None, None], OTHERWISE),
    ],
)
def test_a_setting_of_the_template_is_told_where_it_makes_the_prompts_of_the_training(
    consumers, answers_of, default, off, on, note
):
    prompts = list(zip(default, off, on, strict=True))
    assert consumers.llama_note(export_of(), answers_of(prompts)) == note


def test_a_model_of_plain_texts_has_no_prompts(consumers, answers_of):
    assert consumers.llama_note(export_of(chat=False), answers_of()) is None
    assert consumers.prompt_note(export_of(chat=False), None) is None


@pytest.mark.parametrize(
    ("read", "number"), [([[1, 2], [4]], 2), ([[1], [3]], 1), ([[1, 2], []], 2)]
)
def test_a_text_that_is_read_as_other_tokens_is_named_by_its_number(
    consumers, answers_of, read, number
):
    wanted = consumers.Expected(answers=[[5], [6]], likelihood=[], effect=None)
    with pytest.raises(BackendError) as caught:
        consumers.compare_llama(export_of(), answers_of(read=read), wanted, None)
    assert caught.value.message == (
        f"llama.cpp reads the text of question {number} as other tokens"
    )
    assert caught.value.remedy == (
        "Export it with `--format merged`: transformers and vLLM use the model's own tokenizer."
    )


def test_equal_answers_of_llama_cpp_are_counted(consumers, answers_of):
    wanted = consumers.Expected(answers=[[5], [6]], likelihood=[], effect=None)
    found = consumers.compare_llama(export_of(), answers_of(), wanted, None)
    assert found.as_json() == {
        "by": "llama.cpp (xllamacpp 1)",
        "answers": 2,
        "equal": 2,
        "near_ties": [],
    }
