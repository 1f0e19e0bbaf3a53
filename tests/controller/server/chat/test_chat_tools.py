"""Calls of tools and thinking in answers, whole and streamed, as the official SDK sees them."""

import openai
import pytest

from backends.contract.completions import Chunk
from backends.contract.errors import BackendError, PromptRefused, PromptTooLong
from tests.controller.server.chat_helpers import HELLO, Engine, Talking
from tests.controller.server.serve_helpers import BASE, serving

TOOL = {"type": "function", "function": {"name": "hours", "parameters": {"type": "object"}}}
ENDED = {"finish_reason": "stop", "prompt_tokens": 3, "completion_tokens": 9}


def called(name, arguments):
    return {"id": "000", "type": "function", "function": {"name": name, "arguments": arguments}}


SAID = [
    Chunk(text="", thinking="음, "),
    Chunk(text="", thinking="시간을 묻네."),
    Chunk(text="찾아"),
    Chunk(text="볼게요.", tool_calls=(called("hours", '{"day": "월"}'),)),
    Chunk(text="", tool_calls=(called("hours", '{"day": "화"}'), called("menu", "{}"))),
    Chunk(text="", **ENDED),
]
CALLS = [("hours", '{"day": "월"}'), ("hours", '{"day": "화"}'), ("menu", "{}")]


class Calling(Talking):
    said = SAID

    def open_engine(self, base_model):
        del base_model
        backend = self

        class Scripted(Engine):
            def generate(self, model, prompt, sampling):
                del model, prompt, sampling
                for chunk in backend.said:
                    if isinstance(chunk, BackendError):
                        raise chunk
                    yield chunk

        return Scripted(self)


@pytest.fixture(scope="module")
def module_server(tmp_path_factory):
    root = tmp_path_factory.mktemp("tools")
    with serving(root, Calling(root / "s")) as served:
        yield served


@pytest.fixture
def server(module_server):
    module_server.backend.said = SAID
    return module_server


@pytest.fixture
def create(server):
    def ask(**options):
        given = {"model": BASE, "messages": HELLO, "tools": [TOOL], **options}
        return server.client.chat.completions.create(**given)

    return ask


def functions(calls):
    return [(call.function.name, call.function.arguments) for call in calls]


def test_calls_and_thinking_whole(create):
    [choice] = create().choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "찾아볼게요."
    assert choice.message.reasoning_content == "음, 시간을 묻네."
    assert functions(choice.message.tool_calls) == CALLS
    ids = [call.id for call in choice.message.tool_calls]
    assert len({*ids, *(call.id for call in create().choices[0].message.tool_calls)}) == 6


def test_calls_and_thinking_streamed(server):
    stream = server.client.chat.completions.stream(model=BASE, messages=HELLO, tools=[TOOL])
    with stream as events:
        seen = [event.type for event in events]
        final = events.get_final_completion().choices[0]
    assert seen.count("tool_calls.function.arguments.done") == 3
    assert (final.finish_reason, final.message.content) == ("tool_calls", "찾아볼게요.")
    assert final.message.reasoning_content == "음, 시간을 묻네."
    assert functions(final.message.tool_calls) == CALLS


def test_calls_alone_have_no_content(server, create):
    server.backend.said = [Chunk(text="", tool_calls=(called("hours", "{}"),), **ENDED)]
    message = create().choices[0].message
    assert (message.content, functions(message.tool_calls)) == (None, [("hours", "{}")])
    [chunk] = create(stream=True)
    assert chunk.choices[0].delta.tool_calls[0].index == 0
    assert chunk.choices[0].finish_reason == "tool_calls"


@pytest.mark.parametrize("stream", [False, True])
def test_one_call_at_most_where_one_is_asked_for(create, stream):
    answered = create(parallel_tool_calls=False, stream=stream)
    if stream:
        calls = [call for chunk in answered for call in chunk.choices[0].delta.tool_calls or ()]
    else:
        calls = answered.choices[0].message.tool_calls
    assert functions(calls) == CALLS[:1]


def test_an_answer_without_calls_and_one_cut_short_say_so(server, create):
    server.backend.said = [Chunk(text="네.", **ENDED)]
    message = create().choices[0].message
    assert (message.tool_calls, "reasoning_content" in message.to_dict()) == (None, False)
    server.backend.said = [SAID[3], Chunk(text="", finish_reason="length")]
    assert create().choices[0].finish_reason == "length"


def test_usage_is_null_until_the_last_piece(create):
    *pieces, last = create(stream=True, stream_options={"include_usage": True})
    assert {"usage" in piece.to_dict() for piece in pieces} == {True}
    assert {piece.usage for piece in pieces} == {None}
    assert (last.choices, last.usage.total_tokens) == ([], 12)
    assert not any("usage" in piece.to_dict() for piece in create(stream=True))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (PromptTooLong("too long"), "context_length_exceeded"),
        (PromptRefused("the template refuses it"), "invalid_prompt"),
    ],
)
def test_refused_prompts_have_the_codes_that_clients_know(server, create, stream, error, code):
    server.backend.said = [error]
    with pytest.raises(openai.BadRequestError) as caught:
        create(stream=stream)
    assert (caught.value.code, caught.value.param) == (code, "messages")
