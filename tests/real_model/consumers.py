"""Answers of the programs that load exported weights, each used as any of its users does.

`python -m tests.real_model.consumers KIND FOLDER BASE`, in a process of its own: reads conversations
(a JSON list for each line of the input) and writes their answers as a JSON list. Nothing of ftctl is
imported: prompts come from the chat template in the folder, or in the file, and so do stop tokens.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPConnection
from importlib import import_module
from pathlib import Path
from typing import Any, Final, TypeAlias

Messages: TypeAlias = Sequence[Mapping[str, str]]
Answer: TypeAlias = Callable[[Messages], str]

MOST: Final = 16
"""Tokens of the longest answer."""


def by_peft(folder: Path, base: Path) -> Answer:
    """Return the answers of PEFT: an adapter on its base model."""
    on = import_module("transformers").AutoModelForCausalLM.from_pretrained(base)
    return _generating(import_module("peft").PeftModel.from_pretrained(on, folder), folder)


def by_transformers(folder: Path, base: Path) -> Answer:
    """Return the answers of transformers: a whole model."""
    del base
    opener = import_module("transformers").AutoModelForCausalLM
    return _generating(opener.from_pretrained(folder), folder)


def by_llama_cpp(folder: Path, base: Path) -> Answer:
    """Return the answers of llama.cpp: its server with the one GGUF file of a folder."""
    del base
    xllamacpp = import_module("xllamacpp")
    (file,) = folder.glob("*.gguf")
    params = xllamacpp.CommonParams()
    params.model.path, params.n_ctx, params.n_parallel, params.port = str(file), 512, 1, 0
    params.n_gpu_layers, params.warmup = 0, False
    # Its threads spin while they wait for each other: several on a busy machine take for ever.
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(params)

    def answer(messages: Messages) -> str:
        body = {"messages": messages, "temperature": 0, "max_tokens": MOST}
        connection = HTTPConnection(server.listening_address.removeprefix("http://"), timeout=600)
        headers = {"Content-Type": "application/json"}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        found: dict[str, Any] = json.load(connection.getresponse())
        connection.close()
        return str(found["choices"][0]["message"]["content"])

    return answer


KINDS: Final = {"peft": by_peft, "transformers": by_transformers, "llama.cpp": by_llama_cpp}


def _generating(model: Any, folder: Path) -> Answer:
    torch, transformers = import_module("torch"), import_module("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    settings = transformers.GenerationConfig.from_pretrained(folder)
    settings.max_new_tokens, settings.do_sample = MOST, False
    model.eval()

    def answer(messages: Messages) -> str:
        prompt = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        with torch.inference_mode():
            found = model.generate(**prompt, generation_config=settings)
        whole = found[0][prompt["input_ids"].shape[1] :]
        return str(tokenizer.decode(whole, skip_special_tokens=True))

    return answer


if __name__ == "__main__":
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    ask = KINDS[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
    json.dump([ask(json.loads(line)) for line in sys.stdin], out)
    out.flush()
    # Taking llama.cpp down has no use, and its threads may still run.
    os._exit(0)
