"""Messages, calls and tools that tests make examples of."""

USER = {"role": "user", "content": "몇 시에 여나요?"}
ANSWER = {"role": "assistant", "content": "아홉 시에 엽니다."}
CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "hours", "arguments": '{"day": "월"}'},
}
TOOL = {
    "type": "function",
    "function": {
        "name": "hours",
        "description": "opening hours",
        "parameters": {"type": "object", "properties": {"day": {"type": "string"}}},
        "strict": False,
    },
}
PAIR = {
    "input": {"messages": [USER]},
    "preferred_output": [ANSWER],
    "non_preferred_output": [{"role": "assistant", "content": "몰라요."}],
}


def calling(*calls):
    return {"role": "assistant", "content": None, "tool_calls": list(calls)}


def image(url="https://example.com/a.png", **more):
    return {"type": "image_url", "image_url": {"url": url, **more}}


def asking(*parts):
    return {"role": "user", "content": [{"type": "text", "text": "뭐?"}, *parts]}
