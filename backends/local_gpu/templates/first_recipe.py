"""Rendering of conversations by recipe 1, kept for models that were trained by it.

It knew no thinking, took as the answer all text after the template's own prompt, and did not check
that the template shows the text to learn.
"""

from backends.contract.errors import BackendError
from backends.local_gpu.templates.messages import Conversation, written_out
from backends.local_gpu.templates.rendering import Jinja
from backends.local_gpu.templates.turns import Rendered, Span, by_marks, rendered_text


def render_first(jinja: Jinja, conversation: Conversation) -> Rendered:
    """Render a conversation and find its answers.

    Raises:
        BackendError: The template refuses it, or does not show an answer apart.
    """
    messages = written_out(conversation, recipe=1)
    tools = conversation.get("tools") or None
    if jinja.marked:
        return by_marks(rendered_text(jinja, messages, tools, {"add_generation_prompt": False}))
    text = rendered_text(jinja, messages, tools, {"add_generation_prompt": False})
    answers = []
    for place, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        before, after = (
            rendered_text(jinja, messages[:end], tools, {"add_generation_prompt": asks})
            for end, asks in ((place, True), (place + 1, False))
        )
        if not (text.startswith(after) and after.startswith(before)):
            raise BackendError(
                "the base model's chat template writes an answer differently once more "
                "messages follow, so it is not clear which tokens are the answer",
                "Set `chat_template: chatml`, or use a template with generation markers.",
            )
        learned = after[len(before) :].rstrip()
        answers.append(Span(start=len(before), end=len(before) + len(learned)))
    return Rendered(text=text, answers=answers)
