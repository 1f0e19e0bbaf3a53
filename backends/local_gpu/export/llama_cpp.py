"""llama.cpp with a GGUF file, in a process of its own: how it reads prompts, and what it answers.

`python -m backends.local_gpu.export.llama_cpp FILE`. The file holds the question: `model`, `most`
(tokens of an answer) and `probes`, each with `ids`, its `text`, and in a chat `messages` and `tools`.
The output is a JSON object with the fields of `gguf_file.LlamaAnswers`. llama.cpp's server listens on
the loopback address with a key of its own; a fault in it ends this process only.
"""

import json
import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import xllamacpp

from backends.local_gpu.export.input_end import end_with_input

_SPARE: Final = 64
"""Tokens of context beside the prompt and the answer."""
_WAIT_S: Final = 3600
_THINKING: Final[Sequence[Mapping[str, Any]]] = (
    {},
    {"enable_thinking": False},
    {"enable_thinking": True},
)
"""Settings of a template, the default first."""


class LlamaCpp:
    """A server of llama.cpp within this process."""

    def __init__(self, model: Path, context: int) -> None:
        params = xllamacpp.CommonParams()
        params.model.path = str(model)
        params.n_ctx = context
        params.n_parallel = 1
        params.n_gpu_layers = 0
        params.warmup = False
        params.cpuparams.n_threads = len(os.sched_getaffinity(0)) if sys.platform == "linux" else 2
        params.port = 0
        self._key = secrets.token_hex(16)
        params.api_keys = [self._key]
        self._server = xllamacpp.Server(params)

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Send a request, and return the answer."""
        address = self._server.listening_address.removeprefix("http://")
        connection = HTTPConnection(address, timeout=_WAIT_S)
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._key}"}
        try:
            connection.request("POST", path, json.dumps(body), headers)
            answer: dict[str, Any] = json.load(connection.getresponse())
        finally:
            connection.close()
        return answer

    def tokens(self, text: str, *, starts: bool, special: bool) -> list[int]:
        """Return a text's tokens.

        Args:
            text: The text, with control tokens in it if `special`.
            starts: True to put the tokens before it that begin a text.
            special: True to read control tokens as such.
        """
        body = {"content": text, "add_special": starts, "parse_special": special}
        found: list[int] = self.post("/tokenize", body)["tokens"]
        return found

    def prompt(self, probe: Mapping[str, Any], settings: Mapping[str, Any]) -> list[int] | None:
        """Return the tokens of a probe, rendered by llama.cpp with the template in the file.

        Returns:
            None if llama.cpp refuses the template or the conversation.
        """
        body = {"messages": probe["messages"], "chat_template_kwargs": settings}
        if probe["tools"]:
            body["tools"] = probe["tools"]
        text = self.post("/apply-template", body).get("prompt")
        return None if text is None else self.tokens(text, starts=True, special=True)

    def answer(self, ids: Sequence[int], most: int) -> list[int]:
        """Return the greedy answer to a prompt."""
        body = {
            "prompt": ids,
            "n_predict": most,
            "temperature": 0,
            "return_tokens": True,
            "cache_prompt": False,
        }
        found: list[int] = self.post("/completion", body)["tokens"]
        return found


def main(file: Path) -> int:
    """Answer the question of a file."""
    # llama.cpp may write to the output, which must hold the answer only.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    question = json.loads(file.read_bytes())
    probes = question["probes"]
    longest = max(len(probe["ids"]) for probe in probes)
    llama = LlamaCpp(Path(question["model"]), longest + question["most"] + _SPARE)
    answers = [llama.answer(probe["ids"], question["most"]) for probe in probes]
    chats = [probe for probe in probes if "messages" in probe]
    found = {
        "version": version("xllamacpp"),
        "answers": answers,
        "prompts": [[llama.prompt(probe, one) for one in _THINKING] for probe in chats],
        "read": [_read(llama, probe) for probe in probes],
        "starts": llama.tokens("", starts=True, special=True),
    }
    out.write(json.dumps(found))
    out.flush()
    return 0


def _read(llama: LlamaCpp, probe: Mapping[str, Any]) -> list[int]:
    chat = "messages" in probe
    return llama.tokens(probe["text"], starts=not chat, special=chat)


if __name__ == "__main__":
    end_with_input()
    status = main(Path(sys.argv[1]))
    # Taking llama.cpp down has no use, and its threads may still run.
    os._exit(status)
