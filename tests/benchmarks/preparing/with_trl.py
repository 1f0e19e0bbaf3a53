"""Prepare rows with TRL's own code, in an environment that has it.

    python with_trl.py build|tokens|unlimited ROWS BASE PROCESSES SCRATCH LONGEST

`build` is what `SFTTrainer` does before it tokenizes: load_dataset, and `maybe_convert_to_chatml`
mapped over rows that `is_conversational_from_value`; for rows of `{"messages": […]}` that is
load_dataset alone. `tokens` is load_dataset and `SFTTrainer._prepare_dataset` as its
constructor calls it; `unlimited` the same with `max_length=None`, which saves it
two of its passes. The rest of the constructor is not in the seconds. The last line of the output
is JSON.
"""

import json
import os
import sys
import time
from functools import partial

import pyarrow.compute as pc
from datasets import Dataset, load_dataset
from transformers import AutoTokenizer
from trl import SFTConfig, SFTTrainer
from trl.data_utils import is_conversational_from_value, maybe_convert_to_chatml


class Timed(SFTTrainer):
    """Its trainer, which notes how long it prepares."""

    prepare_s = cpu_s = 0.0

    def _prepare_dataset(self, *given):
        started, used = time.perf_counter(), sum(os.times()[:4])
        prepared = super()._prepare_dataset(*given)
        self.prepare_s = time.perf_counter() - started
        self.cpu_s = sum(os.times()[:4]) - used
        return prepared


def main() -> None:
    """Prepare, and print what came out."""
    task, rows, base, processes, scratch, longest = sys.argv[1:]
    several = None if processes == "1" else int(processes)
    load = partial(load_dataset, "json", data_files=rows, split="train", num_proc=several)
    tokens = None
    if task == "build":
        started, used = time.perf_counter(), sum(os.times()[:4])
        dataset = convert(load(), several)
        seconds, cpu_s = time.perf_counter() - started, sum(os.times()[:4]) - used
    else:
        tokenizer = AutoTokenizer.from_pretrained(base)
        settings = {"max_length": None if task == "unlimited" else int(longest)}
        settings |= {"dataset_num_proc": several, "report_to": "none", "bf16": False}
        config = SFTConfig(output_dir=f"{scratch}/out", use_cpu=True, **settings)
        started, used = time.perf_counter(), sum(os.times()[:4])
        dataset = load()
        seconds, cpu_s = time.perf_counter() - started, sum(os.times()[:4]) - used
        trainer = Timed(base, config, train_dataset=dataset, processing_class=tokenizer)
        dataset = trainer.train_dataset
        seconds, cpu_s = seconds + trainer.prepare_s, cpu_s + trainer.cpu_s
        tokens = pc.sum(pc.list_value_length(dataset.data.column("input_ids"))).as_py()
    said = {"seconds": seconds, "cpu_s": cpu_s, "examples": len(dataset), "tokens": tokens}
    print(json.dumps(said))


def convert(dataset: Dataset, several: int | None) -> Dataset:
    """Map its converter over rows that need it, with the arguments its trainer gives."""
    if not is_conversational_from_value(next(iter(dataset))):
        return dataset
    return dataset.map(maybe_convert_to_chatml, remove_columns="conversations", num_proc=several)


if __name__ == "__main__":
    main()
