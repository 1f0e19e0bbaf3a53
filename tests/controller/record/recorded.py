"""Questions that a service was asked, and what a recording shows."""

import json
import re

HELD_OUT, TRAIN = 7, 33


def asked_by(hosted, *arguments):
    """Return the code, the text and the accepted questions of a command."""
    before = len(hosted.chats())
    code, text = hosted.shell(*arguments)
    return code, text, hosted.chats()[before:]


def shown(text, hosted):
    """Return a text without what differs from run to run."""
    text = text.replace(hosted.hosted.url, "http://hosted/v1")
    text = re.sub(r"[0-9a-f]{32}\.jsonl", f"{'0123456789abcdef' * 2}.jsonl", text)
    return re.sub(r"triage-[0-9a-f]{10}", "triage-0123456789", text)


def answers_in(path):
    head, *lines = map(json.loads, path.read_text("utf-8").splitlines())
    assert head["format"] == 1
    return lines
