"""The server and the openai backend together: what `make demo-server` runs.

In a demo repository (`ftctl init --demo`) it starts `ftctl serve`; in a second repository it applies a
spec with `backend: openai` against it, over HTTP, with the official SDK; then it chats with the model
that came of it. Prints every command before it runs. Ends the server it started.

    python -m tests.demos.serve SERVER_REPOSITORY CLIENT_REPOSITORY
"""

import os
import secrets
import shutil
import sys
from pathlib import Path

from openai import OpenAI

from tests.demos.steps import TOKEN, free_port, ftctl, read_model_id, serving, url_of

QUESTION = "차 두 대 가져가도 댈 데 있어요?"

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
    port = free_port()
    settings = server / "ftctl.yaml"
    if not settings.exists():
        settings.write_text("serve:\n  base_models: [../models/small-ko]\n", encoding="utf-8")
    _write_client(client, server, port)
    with serving(server, port) as sdk:
        code = ftctl(client, "apply", "--auto-approve")
        if code:
            return code
        _chat(sdk, read_model_id(client, "cafe-inquiries"))
    return 0


def _write_client(client: Path, server: Path, port: int) -> None:
    shutil.rmtree(client, ignore_errors=True)
    shutil.copytree(server / "finetunes" / "data", client / "finetunes" / "data")
    (client / "finetunes" / "cafe-inquiries.yaml").write_text(SPEC, encoding="utf-8")
    endpoint = f'{{kind: compatible, base_url: "{url_of(port)}", api_key_env: {TOKEN}}}'
    (client / "ftctl.yaml").write_text(f"endpoints:\n  own: {endpoint}\n", encoding="utf-8")


def _chat(sdk: OpenAI, model: str) -> None:
    print(f"\n$ # the official SDK chats with {model}\n> {QUESTION}", flush=True)
    messages = [{"role": "user", "content": QUESTION}]
    whole = sdk.chat.completions.create(model=model, messages=messages, temperature=0)
    print(f"  whole    {whole.choices[0].message.content}")
    stream = sdk.chat.completions.create(model=model, messages=messages, temperature=0, stream=True)
    pieces = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
    print(f"  streamed {''.join(pieces)}  ({len(pieces)} chunks)")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()))
