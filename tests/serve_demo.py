"""The server and the openai backend together: what `make demo-server` runs.

In a demo repository (`ftctl init --demo`) it starts `ftctl serve`; in a second repository it applies a
spec with `backend: openai` against it, over HTTP, with the official SDK; then it chats with the model
that came of it. Prints every command before it runs. Ends the server it started.

    python tests/serve_demo.py SERVER_REPOSITORY CLIENT_REPOSITORY
"""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from openai import APIConnectionError, OpenAI

QUESTION = "차 두 대 가져가도 댈 데 있어요?"
TOKEN = "FTCTL_SERVE_TOKEN"
START_S = 30.0

SPEC = """\
# The classifier of the demo, trained over the OpenAI protocol.
backend: openai
endpoint: own
base_model: small-ko

data:
  train:
    - path: data/cafe-inquiries.csv
      columns: {user: 문의, assistant: 분류}
  held_out:
    - path: data/cafe-inquiries-held-out.csv
      columns: {user: 문의, assistant: 분류}

hyperparameters: {n_epochs: 6, batch_size: 16, learning_rate_multiplier: 10}

evaluation:
  metrics: [accuracy]
  max_tokens: 16
gate:
  - accuracy >= 0.7
"""


def main(server: Path, client: Path) -> int:
    """Run the whole story; return ftctl's exit code."""
    os.environ.setdefault(TOKEN, secrets.token_urlsafe(24))
    port = _free_port()
    settings = server / "ftctl.yaml"
    if not settings.exists():
        settings.write_text("serve:\n  base_models: [../models/small-ko]\n", encoding="utf-8")
    _write_client(client, server, port)
    with _serving(server, port) as sdk:
        code = _ftctl("--dir", str(client), "apply", "--auto-approve")
        if code:
            return code
        model = _model_id(client)
        _chat(sdk, model)
    return 0


def _write_client(client: Path, server: Path, port: int) -> None:
    shutil.rmtree(client, ignore_errors=True)
    shutil.copytree(server / "finetunes" / "data", client / "finetunes" / "data")
    (client / "finetunes" / "cafe-inquiries.yaml").write_text(SPEC, encoding="utf-8")
    endpoint = f'{{kind: compatible, base_url: "http://127.0.0.1:{port}/v1", api_key_env: {TOKEN}}}'
    (client / "ftctl.yaml").write_text(f"endpoints:\n  own: {endpoint}\n", encoding="utf-8")


@contextmanager
def _serving(server: Path, port: int) -> Iterator[OpenAI]:
    arguments = ["--dir", str(server), "serve", "--port", str(port)]
    _say(arguments)
    process = subprocess.Popen([sys.executable, "-m", "controller", *arguments])
    sdk = OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=os.environ[TOKEN], max_retries=0)
    try:
        _wait_for(sdk, process)
        yield sdk
    finally:
        process.terminate()
        process.wait()


def _wait_for(sdk: OpenAI, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            sdk.models.list()
        except APIConnectionError:
            time.sleep(0.2)
        else:
            return
    sys.exit("the server did not start")


def _chat(sdk: OpenAI, model: str) -> None:
    print(f"\n$ # the official SDK chats with {model}\n> {QUESTION}", flush=True)
    messages = [{"role": "user", "content": QUESTION}]
    whole = sdk.chat.completions.create(model=model, messages=messages, temperature=0)
    print(f"  whole    {whole.choices[0].message.content}")
    stream = sdk.chat.completions.create(model=model, messages=messages, temperature=0, stream=True)
    pieces = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
    print(f"  streamed {''.join(pieces)}  ({len(pieces)} chunks)")


def _model_id(client: Path) -> str:
    command = [sys.executable, "-m", "controller", "--dir", str(client), "model", "cafe-inquiries"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _ftctl(*arguments: str) -> int:
    _say(arguments)
    return subprocess.run([sys.executable, "-m", "controller", *arguments], check=False).returncode


def _say(arguments: list[str] | tuple[str, ...]) -> None:
    print(f"\n$ ftctl {' '.join(arguments)}", flush=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()))
