"""Prepare rows with LLaMA-Factory's own code, in an environment that has it.

    python with_llamafactory.py build|tokens ROWS BASE PROCESSES SCRATCH LONGEST

`build` calls `llamafactory.data.loader._get_merged_dataset`: load_dataset, then `align_dataset`.
`tokens` calls `llamafactory.data.loader.get_dataset`: the same, then `SupervisedDatasetProcessor`
with the registered template `chatml`, which writes exactly what the small base's own template
writes. Arguments are parsed by `get_train_args`, the tokenizer is loaded by `load_tokenizer`, both
before the clock starts. The last line of the output is JSON.
"""

import json
import os
import sys
import time
from pathlib import Path

import pyarrow.compute as pc
from llamafactory.data.loader import _get_merged_dataset, get_dataset
from llamafactory.data.template import get_template_and_fix_tokenizer
from llamafactory.hparams import get_train_args
from llamafactory.model import load_tokenizer

OPENAI = {
    "formatting": "sharegpt",
    "columns": {"messages": "messages"},
    "tags": {
        "role_tag": "role",
        "content_tag": "content",
        "user_tag": "user",
        "assistant_tag": "assistant",
        "system_tag": "system",
    },
}
"""How its data/README.md describes rows of `{"messages": […]}` to it."""
SHAREGPT = {
    "formatting": "sharegpt",
    "tags": {
        "role_tag": "from",
        "content_tag": "value",
        "user_tag": "human",
        "assistant_tag": "gpt",
        "system_tag": "system",
    },
}


def main() -> None:
    """Prepare, and print what came out."""
    task, rows, base, processes, scratch, longest = sys.argv[1:]
    with Path(rows).open(encoding="utf-8") as file:
        form = OPENAI if "messages" in json.loads(file.readline()) else SHAREGPT
    described = {"rows": {"file_name": rows, **form}}
    (Path(scratch) / "dataset_info.json").write_text(json.dumps(described))
    model, data, training, _, _ = get_train_args(
        {
            "stage": "sft",
            "do_train": True,
            "model_name_or_path": base,
            "dataset": "rows",
            "dataset_dir": scratch,
            "template": "chatml",
            "cutoff_len": int(longest),
            "preprocessing_num_workers": None if processes == "1" else int(processes),
            "output_dir": f"{scratch}/out",
            "report_to": "none",
        }
    )
    tokenizer = load_tokenizer(model)["tokenizer"]
    template = get_template_and_fix_tokenizer(tokenizer, data)
    started, used = time.perf_counter(), sum(os.times()[:4])
    if task == "build":
        dataset = _get_merged_dataset(data.dataset, model, data, training, "sft")
    else:
        dataset = get_dataset(template, model, data, training, "sft", tokenizer)["train_dataset"]
    seconds, cpu_s = time.perf_counter() - started, sum(os.times()[:4]) - used
    tokens = None
    if task == "tokens":
        tokens = pc.sum(pc.list_value_length(dataset.data.column("input_ids"))).as_py()
    said = {"seconds": seconds, "cpu_s": cpu_s, "examples": len(dataset), "tokens": tokens}
    print(json.dumps(said))


if __name__ == "__main__":
    main()
