"""Configurations of TRL (`trl sft --config FILE`), by its arguments of version 1.16. Pure."""

from collections.abc import Iterator, Mapping, Sequence
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
    four_bits,
    go_through,
    idle,
    lost,
    names,
    number,
    own,
    place,
    shown,
    some_names,
    text,
    whole,
)
from controller.adopt.configs.translation import Fate, Rows, Translation

TOOL: Final = "TRL"
NEEDED: Final = ("model_name_or_path",)
TYPICAL: Final = ("dataset_name", "datasets", "use_peft", "dataset_text_field", "lora_r")
"""Keys of which one tells this tool's configurations from all others, beside those it needs."""

TABLE: Final[Mapping[str, Key]] = {
    **shared.TRAINER,
    **own(
        "model_name_or_path model_revision dataset_name dataset_config dataset_train_split "
        "dataset_test_split dataset_streaming streaming datasets test_split_size use_peft "
        "lora_target_modules num_train_epochs lr_scheduler_type warmup_steps warmup_ratio optim "
        "bf16 fp16 seed max_length max_seq_length dataset_text_field completion_only_loss "
        "assistant_only_loss eval_strategy chat_template_path"
    ),
    "learning_rate": Becomes(name="learning_rate", read=number, default=2e-05),
    "per_device_train_batch_size": Becomes(
        name="per_device_train_batch_size", read=whole, default=8
    ),
    **shared.UPDATES,
    **lost(shared.PACKS, "packing"),
    **lost(shared.EIGHT_BITS, "load_in_8bit"),
    **lost("is for other models than those that answer", "lora_task_type", (None, "CAUSAL_LM")),
    **lost(shared.TOKENIZER, "eos_token pad_token"),
    **lost("is not there: the loss is the mean over learned tokens", "loss_type", (None, "nll")),
    **lost("is nf4 here", "bnb_4bit_quant_type", (None, "nf4")),
    **lost("is not there", "router_aux_loss_coef model_init_kwargs dataset_kwargs"),
    **lost("is not there: rows are drawn at random", "shuffle_dataset", (None, False, True)),
    **lost(
        "is how the tool cuts; here the end is cut off", "truncation_mode", (None, "keep_start")
    ),
    **idle(
        shared.MACHINE,
        "dataset_num_proc dataset_batch_size pad_to_multiple_of padding_free packing_strategy "
        "eval_packing activation_offloading dtype torch_dtype attn_implementation "
        "bnb_4bit_quant_storage use_bnb_nested_quant ignore_bias_buffers "
        "use_reentrant",
    ),
    **idle("names the script to run, or its environment", "env command"),
}
_ADAPTER: Final[Mapping[str, Key]] = {
    "lora_r": Becomes(name="r", read=whole, default=16),
    "lora_alpha": Becomes(name="lora_alpha", read=number, default=32),
    "lora_dropout": Becomes(name="lora_dropout", read=number, default=0.05),
    "use_rslora": Becomes(name="use_rslora", read=flag, default=False),
    "load_in_4bit": Becomes(name="quantization", read=four_bits),
    "lora_modules_to_save": Becomes(name="modules_to_save", read=some_names),
    "lora_target_parameters": Becomes(name="target_parameters", read=some_names),
    **shared.DORA,
}
OTHER_METHODS: Final[Mapping[str, str]] = {
    "beta": "dpo",
    "loss_weights": "dpo",
    "ref_model_mixup_alpha": "dpo",
    "precompute_ref_log_probs": "dpo",
    "num_generations": "grpo",
    "max_completion_length": "grpo",
    "reward_funcs": "grpo",
    "reward_model_name_or_path": "grpo",
    "desirable_weight": "kto",
    "undesirable_weight": "kto",
    "center_rewards_coefficient": "reward",
}
"""Keys that only other commands than `trl sft` have."""
_FORMATS: Final = frozenset({"json", "csv", "parquet", "text", "arrow"})
"""Names of `datasets.load_dataset` for files of a format."""


def translate(config: Mapping[str, Json], file: str, line_of: LineOf) -> Translation:
    """Translate a configuration.

    Args:
        config: The parsed file.
        file: Its name in messages.
        line_of: Returns the line of a path.
    """
    account = Account(given=flat(config), file=file, line_of=line_of)
    _refuse_methods(account)
    has_adapter = account.flag("use_peft")
    kind = "lora" if has_adapter else "full"
    account.hyperparameters["finetuning_type"] = kind
    account.translated("use_peft", f"hyperparameters.finetuning_type: {kind}")
    adapter = shared.adapter_keys(_ADAPTER, has_adapter=has_adapter, why="use_peft is off")
    go_through(account, {**TABLE, **own(" ".join(OTHER_METHODS)), **adapter})
    if has_adapter:
        shared.read_layers(account, "lora_target_modules", ("all-linear",))
    plain = account.has("dataset_text_field")
    shared.read_epochs(account, "num_train_epochs", 3)
    shared.read_schedule(account, "lr_scheduler_type", "linear")
    shared.read_warmup(account, "warmup_ratio", "warmup_steps")
    shared.read_optimizer(account, "optim")
    shared.read_precision(account, default="bfloat16")
    train = tuple(_read_rows(account, plain=plain))
    held_out = _held_out(account, train)
    length = "max_seq_length" if "max_seq_length" in account.given else "max_length"
    prepare: dict[str, Json] = {}
    if plain:
        shared.read_blocks(account, length, 1024)
    else:
        if length in account.given and not account.has(length):
            account.note(Fate.TRANSLATED, length, "is null: examples of any length are whole")
        else:
            prepare = shared.read_length(account, length, 1024, over_length="truncate")
        _read_loss(account)
    revision = shared.read_revision(account, "model_revision")
    _read_template(account)
    wanted = (account.text("hub_model_id").rpartition("/")[2], account.text("run_name"))
    return Translation(
        tool=TOOL,
        base_model=account.text("model_name_or_path"),
        base_key="model_name_or_path",
        revision=revision,
        method=(CONTINUED_PRETRAINING if plain else SUPERVISED).name,
        train=train,
        held_out=held_out,
        prepare=prepare,
        hyperparameters=account.hyperparameters,
        seed=shared.read_seed(account, "seed", 42),
        names=tuple(filter(None, wanted)),
        lines=tuple(account.lines),
        problems=tuple(account.problems),
    )


def _refuse_methods(account: Account) -> None:
    for key, method in OTHER_METHODS.items():
        if account.has(key):
            shared.refuse_method(account, key, f"is a key of `trl {method}`")
    for key in ("dataset_streaming", "streaming"):
        if account.has(key) and account.flag(key):
            account.refuse(
                key,
                "reads the dataset while it trains; a spec needs one that can be read to its end",
                "Save the rows that you want as a file, and name it in `dataset_name`.",
            )
        elif account.has(key):
            account.note(Fate.IDLE, key, "is switched off")


def _read_loss(account: Account) -> None:
    """Account for the tokens that TRL learns: those of the questions too, in conversations."""
    if account.has("completion_only_loss"):
        if account.flag("completion_only_loss"):
            account.translated("completion_only_loss", "is what happens here, too")
        else:
            account.lost("completion_only_loss", "learns the questions too; only answers here")
    if account.flag("assistant_only_loss"):
        account.translated("assistant_only_loss", "is what happens here, too")
    else:
        account.lost(
            "assistant_only_loss",
            "is off, so that TRL learns the questions of `messages` too; only answers are learned "
            "here",
        )


def _read_template(account: Account) -> None:
    if account.has("chat_template_path"):
        account.lost(
            "chat_template_path", "is not there: the base model's own chat template is used"
        )


def _read_rows(account: Account, *, plain: bool) -> Iterator[Rows]:
    source: dict[str, Json] = {}
    if plain:
        field = account.text("dataset_text_field")
        account.translated(
            "dataset_text_field", f"method: continued-pretraining, columns.text: {shown(field)}"
        )
        source = {"columns": {"text": field}}
    entries = account.given.get("datasets")
    if isinstance(entries, Sequence) and not isinstance(entries, str) and entries:
        if account.has("dataset_name"):
            account.note(Fate.IDLE, "dataset_name", "has no effect beside `datasets`")
        for index, entry in enumerate(entries):
            at = place("datasets", index)
            if isinstance(entry, Mapping):
                yield from _rows_of(account, at, entry, source)
            else:
                account.refuse(at, "must be a dataset with a `path`", "Correct it there.")
        return
    where = account.text("dataset_name")
    if not where:
        account.refuse(
            "dataset_name", "is missing, and so is `datasets`", "Name a dataset in either."
        )
        return
    hub = shared.read_hub(account, {"dataset_config": "config", "dataset_train_split": "split"})
    _refuse_script(account, "dataset_name", where)
    yield Rows(
        key="dataset_name", line=account.line("dataset_name"), place=where, hub=hub, source=source
    )


def _refuse_script(account: Account, key: str, where: str) -> None:
    if where.endswith(".py"):
        shared.refuse_script(account, key, f"{shown(where)} comes from a script")


def _rows_of(
    account: Account, at: str, entry: Mapping[str, Json], source: Mapping[str, Json]
) -> Iterator[Rows]:
    sub = account.inside(at, entry)
    key = place(at, "path")
    where = sub.text(key)
    files = sub.value(place(at, "data_files"), names, [])
    named = tuple(map(str, files)) if isinstance(files, list) else ()
    if not where:
        sub.refuse(key, "is missing", "Name the file or the dataset there.")
        return
    _refuse_script(sub, key, where)
    hub = shared.read_hub(sub, {place(at, "name"): "config", place(at, "split"): "split"})
    values = dict(source)
    if sub.has(place(at, "fraction")):
        share = sub.value(place(at, "fraction"), number)
        if isinstance(share, int | float) and 0 < share < 1:
            values["sample"] = {"fraction": share}
            sub.translated(place(at, "fraction"), f"sample.fraction: {share:g} (other rows)")
    if sub.has(place(at, "columns")):
        sub.note(Fate.IDLE, place(at, "columns"), "is not needed: unused keys are reported")
    if sub.has(place(at, "data_dir")):
        sub.lost(place(at, "data_dir"), "is not there: name the files in `data_files`")
    only = where in _FORMATS and bool(named)
    yield Rows(
        key=key,
        line=sub.line(key),
        place=where,
        files=named,
        only_file=only,
        hub=hub,
        source=values,
    )


def _held_out(account: Account, train: Sequence[Rows]) -> Sequence[Rows] | float:
    """Return what is measured: a split of its own, or a share."""
    if account.has("test_split_size"):
        return shared.share_of(account, "test_split_size")
    measures = account.text("eval_strategy") not in {"", "no"}
    account_key = "dataset_test_split"
    if account.has("eval_strategy"):
        account.note(Fate.IDLE, "eval_strategy", "every model is measured here")
    split = str(account.value(account_key, text, "test"))
    if not measures or account.has("datasets"):
        account.lost(
            account_key,
            f"is not measured; here, data.held_out.fraction: {shared.HELD_OUT:g} of the rows are measured "
            "and not trained on",
        )
        return shared.HELD_OUT
    account.translated(account_key, f"data.held_out: split: {shown(split)}")
    return tuple(
        Rows(
            key=account_key,
            line=account.line(account_key),
            place=rows.place,
            hub={**rows.hub, "split": split},
            source=rows.source,
        )
        for rows in train
    )
