"""Held-out loss of an adapter, measured with PEFT alone: the same measure for every trainer.

`python -m tests.real_model.scoring ADAPTER BASE`, in a process of its own: reads conversations with
their answer (a JSON list for each line of the input), and prints the mean negative log likelihood of
the answers' tokens and the end of turn, in nats.
"""

import json
import sys
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer


def main(adapter: Path, base: Path) -> None:
    """Measure, and print."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    opened = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = PeftModel.from_pretrained(opened, adapter).eval()
    total, count = 0.0, 0
    for line in sys.stdin:
        *asked, answer = json.loads(line)
        prompt = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_dict=True)
        text = answer["content"] + tokenizer.eos_token
        wanted = tokenizer(text, add_special_tokens=False)["input_ids"]
        ids = torch.tensor([[*prompt["input_ids"], *wanted]])
        with torch.inference_mode():
            logits = model(input_ids=ids).logits[0, -len(wanted) - 1 : -1]
        losses = torch.nn.functional.cross_entropy(logits, torch.tensor(wanted), reduction="sum")
        total += float(losses)
        count += len(wanted)
    print(total / count)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
