"""Configurations of Soup (`soup.yaml` of soup-cli), by its schema of version 0.77. Pure."""

from collections.abc import Mapping, Sequence
from typing import Final

from backends.contract.inspector import Json
from backends.contract.methods import CONTINUED_PRETRAINING, SUPERVISED
from controller.adopt.configs import shared
from controller.adopt.configs.keys import (
    Account,
    Becomes,
    Key,
    LineOf,
    flag,
    flat,
    go_through,
    idle,
    lost,
    names,
    number,
    own,
    shown,
    some_names,
    text,
    whole,
)
from controller.adopt.configs.translation import Fate, Rows, Translation

TOOL: Final = "Soup"
NEEDED: Final = ("base", "data")
TYPICAL: Final = ("task", "training", "modality", "output", "experiment_name", "eval")
"""Keys of which one tells this tool's configurations from all others, beside those it needs."""
SECTIONS: Final = ("data", "training", "training.lora")
_TRAINING: Final = "training."
_DATA: Final = "data."


def _in(section: str, keys: Mapping[str, Key]) -> dict[str, Key]:
    return {section + key: entry for key, entry in keys.items()}


_SHAPES: Final[Mapping[str, str]] = {
    "alpaca": "alpaca",
    "sharegpt": "sharegpt",
    "chatml": "chat",
    "tool-calling": "chat",
}
TABLE: Final[Mapping[str, Key]] = {
    **own("base task modality"),
    **idle("chooses who computes: the same sum here", "backend"),
    **idle(shared.RUN, "output experiment_name eval advise"),
    **_in(
        _DATA,
        {
            **own(
                "train format val_split max_length chat_template streaming train_on_responses_only"
            ),
            **lost(shared.QUESTIONS, "train_on_prompt"),
            **lost(shared.LAST_ANSWER, "mask_history"),
            **lost(
                "is not there",
                "replay raft_shuffle_seed raft_epoch_shuffle interleave shards prompt_strategy "
                "forget_set retain_set train_on_messages_with_train_field split_thinking "
                "extend_conversation tokenized_path image_dir audio_dir video_dir",
            ),
            **lost(shared.TOKENIZER, "add_new_tokens new_special_tokens resize_vocab"),
            **idle(
                "belongs to the machine, or to another key",
                "buffer_size replay_ratio replay_seed skip_prepare_dataset remove_unused_columns "
                "eval_on_each_dataset image_min_pixels image_max_pixels video_fps video_maxlen",
            ),
        },
    ),
    **_in(
        _TRAINING,
        {
            **own("epochs scheduler warmup_ratio optimizer seed quantization batch_size lora"),
            "lr": Becomes(name="learning_rate", read=number, default=2e-05),
            "gradient_accumulation_steps": Becomes(
                name="gradient_accumulation_steps", read=whole, default=4
            ),
            "weight_decay": Becomes(name="weight_decay", read=number, default=0.01),
            "max_grad_norm": Becomes(name="max_grad_norm", read=number, default=1.0),
            **lost(shared.PACKS, "packing multipack"),
            **lost(
                shared.EIGHT_BITS,
                "load_in_8bit quantization_aware moe_expert_quant nvfp4 llm_int8 unsloth_bnb_4bit",
            ),
            **lost("is not there: embeddings get no noise", "neftune_alpha", (None, 0)),
            **lost(
                "is not there: an adapter is trained on all its layers alike",
                "use_lorafa moe_lora freeze_layers freeze_ratio relora_steps "
                "expand_layers freeze_trainable_layers use_longlora use_mod train_router_only",
            ),
            **lost(
                "is not there: every weight is trained, or an adapter",
                "unfrozen_parameters lisa_enabled use_galore",
            ),
            **lost(
                "changes the base model's configuration, which stays as it is here",
                "rope_scaling_type yarn_factor",
            ),
            **lost("is not there: all weights that are trained have one rate", "lr_groups"),
            **lost("is not there: rows are drawn at random", "curriculum"),
            **lost(
                "is not there: training runs to its end",
                "loss_watchdog loss_spike_recovery early_stop_on_regression forgetting_stop "
                "convergence_detection warmup_auto grad_accum_auto_tune auto_mixed_precision",
            ),
            **lost("is not there: `seed` decides initialisation and order alike", "data_seed"),
            **lost(
                "trains the end of a turn; it is always learned here",
                "train_on_eot",
                (None, False, True),
            ),
            **lost("is a gate of Soup; write `gate:` in the spec", "eval_gate"),
            **idle(
                "chooses how attention is computed, or belongs to the machine",
                "use_flash_attn use_ring_attention use_liger fast_lora use_cut_ce "
                "kernel_auto_compose gradient_checkpointing activation_offloading "
                "auto_batch_size_strategy bnb_4bit_quant_storage bnb_4bit_use_double_quant "
                "packing_cross_doc_attn_mask use_fsdp2_compile parallelism pipeline_stages hub "
                "load_in_16bit gptq_disable_exllama stream_layers",
            ),
            **idle(
                "saves, logs or measures a run",
                "save_steps logging_steps eval_steps forgetting_detection forgetting_eval_steps "
                "checkpoint_intelligence rewind_log",
            ),
        },
    ),
}
_LORA: Final = "training.lora."
_ADAPTER: Final[Mapping[str, Key]] = _in(
    _LORA,
    {
        **own("target_modules"),
        "r": Becomes(name="r", read=whole, default=64),
        "alpha": Becomes(name="lora_alpha", read=number, default=16),
        "dropout": Becomes(name="lora_dropout", read=number, default=0.05),
        "use_rslora": Becomes(name="use_rslora", read=flag, default=False),
        "target_parameters": Becomes(name="target_parameters", read=some_names),
        **shared.DORA,
        **lost(
            "is not there: an adapter is plain LoRA on linear layers",
            "use_vera use_olora rank_pattern alpha_pattern",
        ),
        **lost("is not there: an adapter starts at random", "init_strategy", (None, "random")),
        **idle("belongs to another key", "loftq_iter loftq_bits"),
    },
)
_TASKS: Final[Mapping[str, str]] = {
    "sft": SUPERVISED.name,
    "pretrain": CONTINUED_PRETRAINING.name,
}


def translate(config: Mapping[str, Json], file: str, line_of: LineOf) -> Translation:
    """Translate a configuration.

    Args:
        config: The parsed file.
        file: Its name in messages.
        line_of: Returns the line of a path.
    """
    account = Account(given=flat(config, SECTIONS), file=file, line_of=line_of)
    method = _read_method(account)
    plain = method == CONTINUED_PRETRAINING.name
    full = account.given.get(f"{_LORA}r") == 0
    account.hyperparameters["finetuning_type"] = "full" if full else "lora"
    if full:
        account.translated(f"{_LORA}r", "hyperparameters.finetuning_type: full")
        inside = [key for key in account.given if key.startswith(_LORA) and key != f"{_LORA}r"]
        adapter = {f"{_LORA}r": own("r")["r"], **idle("belongs to an adapter", " ".join(inside))}
    else:
        adapter = {**_ADAPTER, **_in(_TRAINING, shared.LORA_PLUS)}
    go_through(account, {**TABLE, **adapter})
    if not full:
        automatic: Sequence[Json] = ("auto", ["auto"])
        shared.read_layers(account, f"{_LORA}target_modules", ("all-linear",), automatic)
    _read_quantization(account, full=full)
    shared.read_epochs(account, f"{_TRAINING}epochs", 3)
    shared.read_schedule(account, f"{_TRAINING}scheduler", "cosine")
    shared.read_warmup(account, f"{_TRAINING}warmup_ratio", default=0.03)
    shared.read_optimizer(account, f"{_TRAINING}optimizer")
    _read_batch(account)
    prepare: dict[str, Json] = {}
    if plain:
        shared.read_blocks(account, f"{_DATA}max_length", 2048)
    else:
        prepare = shared.read_length(account, f"{_DATA}max_length", 2048, over_length="truncate")
        _read_answers(account)
    train = _read_rows(account, plain=plain)
    return Translation(
        tool=TOOL,
        base_model=account.text("base"),
        base_key="base",
        method=method,
        train=train,
        held_out=shared.share_of(account, f"{_DATA}val_split", 0.1),
        prepare=prepare,
        hyperparameters=account.hyperparameters,
        seed=shared.read_seed(account, f"{_TRAINING}seed", 42),
        names=tuple(filter(None, (account.text("experiment_name"),))),
        lines=tuple(account.lines),
        problems=tuple(account.problems),
    )


def _read_method(account: Account) -> str:
    task = str(account.value("task", text, "sft"))
    if task not in _TASKS:
        shared.refuse_method(account, "task", shown(task))
    else:
        account.translated("task", f"method: {_TASKS[task]}")
    modality = str(account.value("modality", text, "text"))
    if modality != "text":
        account.refuse(
            "modality", f"{shown(modality)}: local-gpu trains on texts", "Use `modality: text`."
        )
    elif account.has("modality"):
        account.note(Fate.IDLE, "modality", "is what local-gpu trains on")
    if account.has(f"{_DATA}streaming") and account.flag(f"{_DATA}streaming"):
        account.refuse(
            f"{_DATA}streaming",
            "reads the dataset while it trains; a spec needs one that can be read to its end",
            "Save the rows that you want as a file, and name it in `data.train`.",
        )
    return _TASKS.get(task, SUPERVISED.name)


def _read_quantization(account: Account, *, full: bool) -> None:
    key = f"{_TRAINING}quantization"
    wanted = str(account.value(key, text, "4bit"))
    if wanted == "none":
        account.translated(key, "is not there, and not wanted")
    elif wanted == "4bit" and not full:
        account.hyperparameters["quantization"] = "nf4"
        account.translated(key, "hyperparameters.quantization: nf4")
    else:
        account.lost(key, shared.EIGHT_BITS)


def _read_batch(account: Account) -> None:
    key = f"{_TRAINING}batch_size"
    if account.given.get(key) in (None, "auto"):
        account.lost(
            key,
            "is chosen by the machine's memory; hyperparameters.per_device_train_batch_size is 8 "
            "here: write the number that Soup printed",
        )
        account.hyperparameters["per_device_train_batch_size"] = 8
        return
    account.become(key, Becomes(name="per_device_train_batch_size", read=whole))


def _read_answers(account: Account) -> None:
    key = f"{_DATA}train_on_responses_only"
    if account.flag(key, default=True):
        if account.has(key):
            account.translated(key, "is what happens here, too")
    else:
        account.lost(key, "learns the questions too; only answers are learned here")
    shared.read_template(account, f"{_DATA}chat_template")


def _read_rows(account: Account, *, plain: bool) -> tuple[Rows, ...]:
    key, form = f"{_DATA}train", f"{_DATA}format"
    wanted = str(account.value(form, text, "auto"))
    source: dict[str, Json] = {}
    if plain:
        source = {"shape": "text"}
        if account.has(form):
            account.translated(form, "shape: text")
    elif wanted in _SHAPES:
        source = {"shape": _SHAPES[wanted]}
        account.translated(form, f"shape: {_SHAPES[wanted]}")
    elif wanted == "auto":
        account.translated(form, "is recognised from the keys of the rows")
    else:
        account.refuse(
            form,
            f"{shown(wanted)} is not a format of conversations",
            f"Use one of: {', '.join(sorted(_SHAPES))}, auto.",
        )
    places = account.value(key, names, [])
    found = [str(one) for one in places] if isinstance(places, list) else []
    if not found:
        account.refuse(key, "names no dataset", "Name a file there.")
    script = [one for one in found if one.endswith(".py")]
    if script:
        shared.refuse_script(account, key, f"{shown(script[0])} is a script")
    return tuple(Rows(key=key, line=account.line(key), place=one, source=source) for one in found)
