"""Chunks of an engine as the protocol's answers: whole and streamed, the same to the client."""

import json
from collections import defaultdict

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import Request

from backends.contract.completions import Chunk
from backends.contract.errors import BackendError, ModelMissing
from controller.server.chat.chat_answers import Answers


class Pieces:
    """Numbered chunks, as an engine makes them; knows whether it was closed."""

    def __init__(self, *pieces):
        self.pieces, self.closed, self.read = pieces, False, 0

    async def run(self):
        try:
            for piece in self.pieces:
                if isinstance(piece, BackendError):
                    raise piece
                self.read += 1
                yield piece
        finally:
            self.closed = True


def request(*messages):
    """Return a request whose client sends these messages, and then nothing more."""
    left = list(messages)

    async def receive():
        return left.pop(0) if left else await anyio.sleep_forever()

    return Request({"type": "http"}, receive)


def call(name, arguments="{}"):
    function = {"name": name, "arguments": arguments}
    return {"id": "000", "type": "function", "function": function}


def whole(*pieces, count=1, several_calls=True, client=None):
    answers = Answers("cafe", count, several_calls=several_calls)
    return anyio.run(answers.whole, client or request(), Pieces(*pieces).run())


def streamed(*pieces, count=1, several_calls=True, wants_usage=False):
    """Return the events of a stream."""
    answers = Answers("cafe", count, several_calls=several_calls)

    async def collect():
        events = answers.events(Pieces(*pieces).run(), wants_usage=wants_usage)
        return [event async for event in events]

    lines = anyio.run(collect)
    assert all(line.startswith(b"data: ") and line.endswith(b"\n\n") for line in lines)
    texts = [line[6:-2].decode() for line in lines]
    return [text if text == "[DONE]" else json.loads(text) for text in texts]


def joined(events):
    """Join the deltas of a stream as a client does: finish reason and message of each answer."""
    made = defaultdict(lambda: [None, {"content": "", "reasoning_content": "", "tool_calls": []}])
    for event in events[:-1]:
        for choice in event["choices"]:
            answer, delta = made[choice["index"]], choice["delta"]
            answer[0] = choice["finish_reason"]
            for key in ("content", "reasoning_content"):
                answer[1][key] += delta.get(key) or ""
            for one in delta.get("tool_calls", ()):
                assert one["index"] == len(answer[1]["tool_calls"])
                answer[1]["tool_calls"].append(one["function"])
    return dict(made)


END = Chunk(text="", finish_reason="stop", prompt_tokens=5, completion_tokens=2)


def test_a_whole_answer():
    body = whole((0, Chunk(text="안")), (0, Chunk(text="녕")), (0, END))
    assert body.pop("id").startswith("chatcmpl-")
    assert isinstance(body.pop("created"), int)
    message = {"role": "assistant", "content": "안녕", "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    assert body == {
        "model": "cafe",
        "system_fingerprint": None,
        "object": "chat.completion",
        "choices": [choice],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
    }


def test_a_streamed_answer():
    *events, done = streamed((0, Chunk(text="안")), (0, Chunk(text="녕")), (0, END))
    assert done == "[DONE]"
    assert len({event["id"] for event in events}) == 1
    deltas = [event["choices"][0]["delta"] for event in events]
    assert deltas == [{"role": "assistant", "content": "안"}, {"content": "녕"}, {}]
    reasons = [event["choices"][0]["finish_reason"] for event in events]
    assert reasons == [None, None, "stop"]
    assert not any("usage" in event for event in events)


@pytest.mark.parametrize(
    ("chunks", "content", "reason"),
    [
        ([Chunk(text="네"), END], "네", "stop"),
        ([Chunk(text="네", finish_reason="length")], "네", "length"),
        ([END], "", "stop"),
        ([], "", "stop"),
        ([Chunk(text="", tool_calls=(call("a"),)), END], None, "tool_calls"),
        ([Chunk(text="네", tool_calls=(call("a"),)), END], "네", "tool_calls"),
        # An answer that was cut short may lack a call that the model wanted.
        ([Chunk(text="", tool_calls=(call("a"),), finish_reason="length")], None, "length"),
    ],
)
def test_content_and_reason(chunks, content, reason):
    [choice] = whole(*((0, chunk) for chunk in chunks))["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == (content, reason)
    assert ("tool_calls" in choice["message"]) == any(chunk.tool_calls for chunk in chunks)


@pytest.mark.parametrize(("several", "names"), [(True, ["a", "b", "c", "d"]), (False, ["a"])])
def test_more_than_one_call_only_where_asked_for(several, names):
    chunks = [
        (0, Chunk(text="", tool_calls=(call("a"), call("b")))),
        (0, Chunk(text="", tool_calls=(call("c"), call("d")))),
        (0, END),
    ]
    [choice] = whole(*chunks, several_calls=several)["choices"]
    assert [one["function"]["name"] for one in choice["message"]["tool_calls"]] == names
    ids = [one["id"] for one in choice["message"]["tool_calls"]]
    assert len(set(ids)) == len(names)
    assert all(one.startswith("call_") for one in ids)
    [(reason, message)] = joined(streamed(*chunks, several_calls=several)).values()
    assert (reason, [one["name"] for one in message["tool_calls"]]) == ("tool_calls", names)


def test_usage_counts_the_prompt_once_and_every_answer():
    pieces = [(0, END), (1, END), (2, END)]
    usage = {"prompt_tokens": 5, "completion_tokens": 6, "total_tokens": 11}
    assert whole(*pieces, count=3)["usage"] == usage
    *events, last, _ = streamed(*pieces, count=3, wants_usage=True)
    assert [event["usage"] for event in events] == [None] * 3
    assert (last["choices"], last["usage"]) == ([], usage)


chunks = st.builds(
    Chunk,
    text=st.text(max_size=3),
    thinking=st.text(max_size=3),
    tool_calls=st.lists(st.builds(call, st.sampled_from(["a", "b"])), max_size=2),
)


@settings(max_examples=40)
@given(
    pieces=st.lists(st.tuples(st.integers(0, 2), chunks), max_size=12),
    several=st.booleans(),
    order=st.permutations([0, 1, 2]),
)
def test_a_stream_joins_to_the_whole_answer(pieces, several, order):
    pieces = [*pieces, *((number, END) for number in order)]
    body = whole(*pieces, count=3, several_calls=several)
    answers = joined(streamed(*pieces, count=3, several_calls=several))
    for choice in body["choices"]:
        reason, message = answers[choice["index"]]
        assert reason == choice["finish_reason"]
        assert message["content"] == (choice["message"]["content"] or "")
        assert message["reasoning_content"] == choice["message"].get("reasoning_content", "")
        calls = choice["message"].get("tool_calls", [])
        assert message["tool_calls"] == [one["function"] for one in calls]


def test_an_error_in_a_stream_is_its_last_event():
    events = streamed((0, Chunk(text="안")), ModelMissing("deleted meanwhile"))
    assert events[-1]["error"]["code"] == "model_not_found"
    assert "[DONE]" not in events
    with pytest.raises(ModelMissing):
        whole((0, Chunk(text="안")), ModelMissing("deleted meanwhile"))


def test_an_answer_without_a_reader_stops_the_engine():
    pieces = Pieces(*((0, Chunk(text="가")) for _ in range(100)))
    gone = request({"type": "http.disconnect"})
    anyio.run(Answers("cafe", 1, several_calls=True).whole, gone, pieces.run())
    assert (pieces.closed, pieces.read) == (True, 1)


def test_a_stream_that_is_left_closes_the_engine():
    pieces = Pieces(*((0, Chunk(text="가")) for _ in range(100)))

    async def leave():
        events = Answers("cafe", 1, several_calls=True).events(pieces.run(), wants_usage=False)
        await anext(events)
        await events.aclose()

    anyio.run(leave)
    assert (pieces.closed, pieces.read) == (True, 1)
