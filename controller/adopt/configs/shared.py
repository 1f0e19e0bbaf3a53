"""Settings that several tools have in common, since they train with transformers and peft. Pure."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from backends.contract.inspector import Json
from controller.adopt.configs.keys import (
    PATTERN,
    Account,
    Becomes,
    Key,
    flag,
    idle,
    lost,
    names,
    number,
    own,
    shown,
    text,
    whole,
)
from controller.adopt.configs.translation import Fate

SCHEDULES: Final = ("linear", "cosine", "constant", "constant_with_warmup")
ADAMW: Final = ("adamw_torch", "adamw_torch_fused", "adamw_hf", "adamw")
"""Names of the optimizer that local-gpu uses."""
ADAMW_8BIT: Final = ("adamw_8bit", "adamw_bnb_8bit", "paged_adamw_8bit")
"""Names of the same with states of 8 bits."""
LORA_PLUS: Final[Mapping[str, Key]] = {
    "loraplus_lr_ratio": Becomes(name="loraplus_lr_ratio", read=number)
}
DORA: Final[Mapping[str, Key]] = {"use_dora": Becomes(name="use_dora", read=flag)}
PACKS: Final = (
    "fills each sequence with several examples; for that here, write packing: true and "
    "max_tokens_per_batch (batch size times sequence length) instead of per_device_train_batch_size"
)
EIGHT_BITS: Final = (
    "quantizes the base model for training; here 4 bits do that (hyperparameters.quantization: "
    "nf4), or it is trained in `dtype`"
)
QUESTIONS: Final = "trains on the questions too; only answers are learned here"
LAST_ANSWER: Final = "trains on the last answer alone; every answer is learned here"
LINEAR_LAYERS: Final = "is not there: an adapter is trained on linear layers alone"
TOKENIZER: Final = "changes the tokenizer, which stays the base model's here"
MACHINE: Final = "belongs to the machine: speed, memory, processes"
RUN: Final = "saves, logs, measures or names a run"
PEFT_LAYERS: Final = ["q_proj", "v_proj"]
"""Layers that peft chooses for most architectures: Llama, Mistral, Qwen, Gemma."""
TOO_LONG: Final = "data.prepare.max_tokens"
FIRST_ROWS: Final = re.compile(r"\A([\w.-]{1,200})\[:([0-9]{1,9})\]")
"""A split of `datasets` of which only the first rows are read."""
HELD_OUT: Final = 0.1
"""Share of the rows that is held out where the tool held out none."""

TRAINER: Final[Mapping[str, Key]] = {
    **idle(
        RUN,
        "output_dir logging_dir logging_steps logging_strategy logging_first_step report_to run_name "
        "project save_steps save_strategy save_total_limit save_only_model save_on_each_node "
        "eval_steps eval_delay per_device_eval_batch_size eval_accumulation_steps eval_on_start "
        "push_to_hub hub_model_id hub_strategy hub_private_repo hub_token hub_revision "
        "overwrite_output_dir disable_tqdm log_level prediction_loss_only do_train do_eval do_predict "
        "include_num_input_tokens_seen include_tokens_per_second plot_loss trackio_space_id "
        "logging_nan_inf_filter bf16_full_eval fp16_full_eval resume_from_checkpoint "
        "metric_for_best_model greater_is_better",
    ),
    **idle(
        MACHINE,
        "gradient_checkpointing gradient_checkpointing_kwargs activation_checkpointing "
        "dataloader_num_workers dataloader_pin_memory dataloader_prefetch_factor "
        "dataloader_persistent_workers ddp_timeout ddp_backend ddp_find_unused_parameters "
        "ddp_bucket_cap_mb deepspeed fsdp fsdp_config local_rank torch_compile torch_compile_backend "
        "torch_compile_mode torch_empty_cache_steps use_liger_kernel tf32 use_cpu "
        "remove_unused_columns accelerator_config skip_memory_metrics use_cache debug",
    ),
    **own("max_steps"),
    **lost("is not there: embeddings get no noise", "neftune_noise_alpha", (None, False, 0)),
    **lost(
        "is not there: the loss is not smoothed", "label_smoothing_factor", (None, False, 0, 0.0)
    ),
    **lost(
        "keeps the last weights here: hyperparameters.early_stopping keeps the best",
        "load_best_model_at_end",
    ),
    **lost("is not there: batches are drawn at random", "group_by_length"),
    **lost("is not there: the last batch is trained too", "dataloader_drop_last"),
    **lost("is not there: the batch size stays as it is", "auto_find_batch_size"),
    **lost("is AdamW's usual value here", "adam_beta1", (None, 0.9)),
    **lost("is AdamW's usual value here", "adam_beta2", (None, 0.999)),
    **lost("is AdamW's usual value here", "adam_epsilon", (None, 1e-08)),
    **lost("is not there", "lr_scheduler_kwargs optim_args optim_target_modules"),
    **lost(
        "is not there: seed decides initialisation and order alike", "data_seed full_determinism"
    ),
    **lost("code of a model or a dataset is never run here", "trust_remote_code"),
}
"""Keys of `transformers.TrainingArguments` that most tools pass on."""
UPDATES: Final[Mapping[str, Key]] = {
    "gradient_accumulation_steps": Becomes(
        name="gradient_accumulation_steps", read=whole, default=1
    ),
    "weight_decay": Becomes(name="weight_decay", read=number, default=0.0),
    "max_grad_norm": Becomes(name="max_grad_norm", read=number, default=1.0),
}
"""Keys of `transformers.TrainingArguments` for each update of the weights."""


def adapter_keys(
    keys: Mapping[str, Key], *, has_adapter: bool, why: str = "none is trained"
) -> Mapping[str, Key]:
    """Return the entries of an adapter's keys, which change nothing where none is trained."""
    return keys if has_adapter else idle(f"belongs to an adapter, and {why}", " ".join(keys))


def refuse_method(account: Account, key: str, given: str) -> None:
    """Refuse a training method that a spec has under its own keys, or not at all."""
    account.refuse(
        key,
        f"{given}: is not translated from configurations",
        "Write the spec yourself for `dpo` and `kto` (`ftctl help training`); a server may offer "
        "more: `ftctl help servers`.",
    )


def refuse_script(account: Account, key: str, script: str, verb: str = "name") -> None:
    """Refuse a dataset that a script makes.

    Args:
        account: The account.
        key: Key that names the dataset.
        script: The script, and how it makes the dataset.
        verb: What a person does with the file of its rows.
    """
    account.refuse(
        key,
        f"{script}, and no code of a dataset is ever run",
        f"Run the script once, save its rows as .jsonl, and {verb} that file.",
    )


def read_epochs(account: Account, key: str, default: float) -> None:
    """Write `num_train_epochs`, which is whole here."""
    value = account.value(key, number, default)
    epochs = float(value) if isinstance(value, int | float) else default
    rounded = max(1, int(epochs + 0.5))
    account.hyperparameters["num_train_epochs"] = rounded
    if rounded == epochs:
        account.translated(key, f"hyperparameters.num_train_epochs: {rounded}")
    else:
        account.lost(key, f"is not whole: hyperparameters.num_train_epochs is {rounded} here")
    _read_steps(account, rounded)


def _read_steps(account: Account, epochs: int) -> None:
    """Write `max_steps`, which only shortens a training here."""
    steps = account.value("max_steps", number)
    if not isinstance(steps, int | float) or steps < 1:
        if account.has("max_steps"):
            account.note(Fate.IDLE, "max_steps", "is without effect there")
        return
    account.hyperparameters["max_steps"] = int(steps)
    account.lost(
        "max_steps",
        f"is hyperparameters.max_steps: {int(steps)} here, which ends the training earlier than "
        f"num_train_epochs: {epochs}, but no later",
    )


def read_schedule(account: Account, key: str, default: str) -> None:
    """Write `lr_scheduler_type`, if it is one that local-gpu has."""
    wanted = str(account.value(key, text, default))
    if wanted in SCHEDULES:
        account.hyperparameters["lr_scheduler_type"] = wanted
        account.translated(key, f"hyperparameters.lr_scheduler_type: {wanted}")
    elif wanted.startswith("cosine"):
        account.hyperparameters["lr_scheduler_type"] = "cosine"
        account.lost(key, "is not there: the rate falls to zero once (lr_scheduler_type: cosine)")
    else:
        account.lost(key, "is not there: the rate falls linearly (lr_scheduler_type: linear)")


def read_warmup(account: Account, ratio: str, steps: str = "", default: float = 0) -> None:
    """Write `warmup_steps`, a number of steps or a share of them."""
    given = account.value(steps, number, 0) if steps else 0
    if given and steps:
        account.hyperparameters["warmup_steps"] = given
        account.translated(steps, f"hyperparameters.warmup_steps: {given}")
        if account.has(ratio):
            account.translated(ratio, f"has no effect beside {steps}")
        return
    share = account.value(ratio, number, default)
    if steps and account.has(steps):
        account.translated(steps, f"hyperparameters.warmup_steps: {shown(share)}")
    if share or account.has(ratio):
        account.hyperparameters["warmup_steps"] = share
        account.translated(ratio, f"hyperparameters.warmup_steps: {shown(share)}, a share of all")


def read_optimizer(account: Account, key: str) -> None:
    """Account for the optimizer: local-gpu has AdamW."""
    wanted = account.text(key)
    if wanted in ADAMW_8BIT:
        account.hyperparameters["optim"] = "adamw_8bit"
        account.translated(key, "hyperparameters.optim: adamw_8bit")
    elif wanted and wanted not in ADAMW:
        account.lost(key, "is not there: AdamW trains, with full-precision states or as adamw_8bit")
    elif wanted:
        account.translated(key, "is the optimizer here, too")


def read_precision(
    account: Account, *, bf16: str = "bf16", fp16: str = "fp16", default: str = "float32"
) -> None:
    """Write `dtype` from the switches of mixed precision."""
    wanted = account.given.get(bf16)
    if account.has(fp16) and account.flag(fp16):
        account.hyperparameters["dtype"] = "float16"
        account.translated(fp16, "hyperparameters.dtype: float16")
        if account.has(bf16):
            account.translated(bf16, "hyperparameters.dtype: float16")
        return
    if wanted == "auto":
        dtype = "auto"
    elif wanted is None:
        dtype = default
    else:
        dtype = "bfloat16" if account.flag(bf16) else "float32"
    account.hyperparameters["dtype"] = dtype
    account.translated(bf16, f"hyperparameters.dtype: {dtype}")
    if account.has(fp16) and not account.flag(fp16):
        account.translated(fp16, f"hyperparameters.dtype: {dtype}")


def read_layers(
    account: Account, key: str, every: Sequence[str], peft_chooses: Sequence[Json] = ()
) -> None:
    """Write `target_modules`.

    Args:
        account: The account.
        key: Key that names the layers.
        every: Words of the tool for all linear layers.
        peft_chooses: Values with which peft chooses, as it does where the key is absent.
    """
    given = account.given.get(key)
    if given is None or given in peft_chooses:
        account.hyperparameters["target_modules"] = list(PEFT_LAYERS)
        account.translated(
            key,
            "hyperparameters.target_modules: [q_proj, v_proj], as peft chooses for most models; "
            "name the layers if it chose others for this one",
        )
        return
    if isinstance(given, str) and set(given) & PATTERN:
        account.hyperparameters["target_modules"] = given
        account.translated(key, f"hyperparameters.target_modules: {shown(given)}, a pattern")
        return
    named = account.value(key, names, [])
    wanted = [str(one) for one in named] if isinstance(named, list) else []
    if any(one in every for one in wanted):
        account.hyperparameters["target_modules"] = "all-linear"
        account.translated(key, "hyperparameters.target_modules: all-linear")
    elif any(not PATTERN.isdisjoint(one) for one in wanted):
        account.refuse(
            key,
            f"is a pattern in a list of names, and matches nothing there: {shown(given)}",
            "Write the pattern alone, or the names of the layers as a list.",
        )
    elif wanted:
        account.hyperparameters["target_modules"] = wanted
        account.translated(key, f"hyperparameters.target_modules: {shown(wanted)}")


def read_length(account: Account, key: str, default: int, *, over_length: str) -> dict[str, Json]:
    """Return `data.prepare` for the longest example of the tool."""
    length = account.value(key, whole, default)
    account.translated(key, f"{TOO_LONG}: {length}, over_length: {over_length}")
    return {"max_tokens": length, "over_length": over_length}


def read_blocks(account: Account, key: str, default: int) -> None:
    """Write `max_length`: plain texts are read in blocks."""
    length = account.value(key, whole, default)
    account.hyperparameters["max_length"] = length
    account.translated(key, f"hyperparameters.max_length: {length}")


def read_template(account: Account, key: str, base_models_own: str | None = None) -> None:
    """Write `chat_template`, if it is one that local-gpu has.

    Args:
        account: The account.
        key: Key that names the template.
        base_models_own: The tool's word for the base model's own template.
    """
    template = account.text(key)
    if template == "chatml":
        account.hyperparameters["chat_template"] = "chatml"
        account.translated(key, "hyperparameters.chat_template: chatml")
    elif template and template == base_models_own:
        account.translated(key, "is the base model's own here, too")
    elif template:
        account.lost(key, "is not there: the base model's own template is used")


def read_revision(account: Account, key: str) -> str | None:
    """Return the revision of the base model, if it is not the usual one."""
    revision = account.text(key)
    if revision == "main":
        account.note(Fate.IDLE, key, "is the usual one")
        return None
    if revision:
        account.translated(key, f"revision: {shown(revision)}")
    return revision or None


def read_hub(account: Account, keys: Mapping[str, str]) -> dict[str, Json]:
    """Return the keys of a source that go with a dataset of the hub, from the tool's keys."""
    hub: dict[str, Json] = {}
    for theirs, ours in keys.items():
        if value := account.text(theirs):
            hub[ours] = value
            part = FIRST_ROWS.fullmatch(value) if ours == "split" else None
            first = None if part is None else f"split: {part[1]}, limit: {part[2]}"
            account.translated(theirs, first or f"{ours}: {shown(value)}")
    return hub


def read_seed(account: Account, key: str, default: int) -> int:
    """Return the seed."""
    value = account.value(key, whole, default)
    seed = value if isinstance(value, int) else default
    account.translated(key, f"seed: {seed}")
    return seed


def share_of(account: Account, key: str, default: float = 0) -> float:
    """Return the share of the training rows to hold out: ftctl measures every model."""
    value = account.value(key, number, default)
    share = float(value) if isinstance(value, int | float) else 0.0
    if 0 < share < 1:
        account.translated(key, f"data.held_out.fraction: {share:g} (other rows than there)")
        return share
    if share >= 1:
        account.lost(key, f"is a number of rows; data.held_out.fraction is {HELD_OUT:g} here")
    else:
        account.lost(
            key,
            f"holds nothing out; here, data.held_out.fraction: {HELD_OUT:g} of the rows are "
            "measured and not trained on",
        )
    return HELD_OUT
