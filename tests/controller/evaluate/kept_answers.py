"""A model, a prompt and an answer, for tests of what is kept."""

from dataclasses import replace

from backends.contract.completions import Completion, Prompt, Sampling
from controller.evaluate.answer_file import AnswerKey

KEY = AnswerKey("카페 모델", Sampling())
PROMPT = Prompt(messages=[{"role": "user", "content": "주말에도 문 여나요?"}])
ANSWER = Completion(
    text="네,\n엽니다. \u2028 \ud800",
    finish_reason="stop",
    reference_loss=2.0,
    reference_tokens=7,
    thinking="주말…",
    tool_calls=({"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}},),
    latency_s=1.0,
    prompt_tokens=12,
    completion_tokens=5,
)


def asked(text, **changes):
    """Return the prompt with another question."""
    return replace(PROMPT, messages=[{"role": "user", "content": text}], **changes)
