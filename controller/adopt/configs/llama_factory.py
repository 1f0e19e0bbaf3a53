"""Configurations of LLaMA-Factory, by its arguments of version 0.9, YAML or JSON. Pure.

A configuration names datasets; `dataset_info.json` in its `dataset_dir` says what they are.
"""

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
    UnfitValue,
    flag,
    flat,
    go_through,
    idle,
    lost,
    number,
    own,
    shown,
    some_names,
    text,
    whole,
)
from controller.adopt.configs.llama_factory_rows import read_rows
from controller.adopt.configs.translation import Fate, Rows, Translation

TOOL: Final = "LLaMA-Factory"
NEEDED: Final = ("model_name_or_path",)
TYPICAL: Final = (
    *("stage", "finetuning_type", "dataset", "dataset_dir", "cutoff_len", "template"),
    *("lora_target", "lora_rank"),
)
"""Keys of which one tells this tool's configurations from all others, beside those it needs."""

_NF4_BITS: Final = 4


def _bits(value: Json) -> Json:
    if whole(value) != _NF4_BITS:
        raise UnfitValue("4: local-gpu trains adapters on 4 bits (nf4), or on the whole weights")
    return "nf4"


TABLE: Final[Mapping[str, Key]] = {
    **shared.TRAINER,
    **own(
        "model_name_or_path model_revision stage finetuning_type dataset eval_dataset dataset_dir "
        "lora_target lora_alpha num_train_epochs lr_scheduler_type warmup_steps warmup_ratio optim "
        "bf16 pure_bf16 fp16 seed cutoff_len val_size template default_system streaming "
        "max_samples enable_thinking adapter_name_or_path packing mix_strategy"
    ),
    "learning_rate": Becomes(name="learning_rate", read=number, default=5e-05),
    "per_device_train_batch_size": Becomes(
        name="per_device_train_batch_size", read=whole, default=8
    ),
    **shared.UPDATES,
    **lost(shared.PACKS, "neat_packing"),
    **lost(shared.EIGHT_BITS, "fp8"),
    **lost(shared.QUESTIONS, "train_on_prompt"),
    **lost(shared.LAST_ANSWER, "mask_history"),
    **lost(shared.LINEAR_LAYERS, "pissa_init"),
    **lost(
        "is not there",
        "use_galore use_apollo use_badam use_adam_mini use_muon use_llama_pro use_dft_loss "
        "use_asft_loss use_eaft_loss shift_attn mixture_of_depths rope_scaling train_from_scratch "
        "upcast_layernorm moe_aux_loss_coef freeze_trainable_layers freeze_extra_modules "
        "early_stopping_steps interleave_probs tokenized_path tool_format preserve_thinking "
        "disable_shuffling use_mca use_kt pref_loss pref_beta ref_model reward_model",
    ),
    **lost(
        shared.TOKENIZER,
        "resize_vocab add_tokens add_special_tokens new_special_tokens_config split_special_tokens",
    ),
    **idle(
        "chooses how attention is computed, or who computes it: the same sum here",
        "flash_attn use_unsloth use_unsloth_gc enable_liger_kernel use_v1_kernels",
    ),
    **idle(
        shared.MACHINE,
        "preprocessing_num_workers preprocessing_batch_size overwrite_cache buffer_size "
        "low_cpu_mem_usage disable_gradient_checkpointing use_reentrant_gc cache_dir "
        "use_fast_tokenizer hf_hub_token ms_hub_token om_hub_token data_shared_file_system "
        "ray_num_workers ray_init_kwargs master_addr master_port offload_folder device_map "
        "quantization_method quantization_type double_quantization quantization_device_map "
        "upcast_lmhead_output init_special_tokens adapter_folder media_dir image_max_pixels "
        "image_min_pixels video_max_pixels video_min_pixels video_fps video_maxlen "
        "freeze_vision_tower freeze_multi_modal_projector freeze_language_model lora_bias",
    ),
    **idle(
        "is for answering and exporting, not for training",
        "infer_backend infer_dtype use_kv_cache vllm_maxlen vllm_gpu_util vllm_enforce_eager "
        "export_dir export_size export_device do_sample temperature top_p top_k max_new_tokens "
        "predict_with_generate",
    ),
    **idle(
        shared.RUN,
        "use_swanlab swanlab_project swanlab_run_name compute_accuracy eval_on_each_dataset "
        "eval_strategy evaluation_strategy print_param_status ignore_pad_token_for_loss "
        "include_effective_tokens_per_second eval_num_beams create_new_adapter",
    ),
}
_ADAPTER: Final[Mapping[str, Key]] = {
    "lora_rank": Becomes(name="r", read=whole, default=8),
    "lora_dropout": Becomes(name="lora_dropout", read=number, default=0.0),
    "additional_target": Becomes(name="modules_to_save", read=some_names),
    "use_rslora": Becomes(name="use_rslora", read=flag, default=False),
    "quantization_bit": Becomes(name="quantization", read=_bits),
    **shared.DORA,
    **shared.LORA_PLUS,
}


def translate(
    config: Mapping[str, Json], file: str, line_of: LineOf, info: Mapping[str, Json] | None
) -> Translation:
    """Translate a configuration.

    Args:
        config: The parsed file.
        file: Its name in messages.
        line_of: Returns the line of a path.
        info: The parsed `dataset_info.json`; None if there is none.
    """
    account = Account(given=flat(config), file=file, line_of=line_of)
    _refuse_methods(account)
    has_adapter = _read_kind(account)
    go_through(account, {**TABLE, **shared.adapter_keys(_ADAPTER, has_adapter=has_adapter)})
    if has_adapter:
        _read_adapter(account)
    plain = account.text("stage") == "pt"
    shared.read_epochs(account, "num_train_epochs", 3)
    shared.read_schedule(account, "lr_scheduler_type", "linear")
    shared.read_warmup(account, "warmup_ratio", "warmup_steps")
    shared.read_optimizer(account, "optim")
    _read_precision(account)
    train = tuple(read_rows(account, "dataset", info))
    if account.has("eval_dataset"):
        held_out: Sequence[Rows] | float = tuple(read_rows(account, "eval_dataset", info))
    else:
        held_out = shared.share_of(account, "val_size")
    prepare: dict[str, Json] = {}
    if plain:
        shared.read_blocks(account, "cutoff_len", 2048)
    else:
        prepare = shared.read_length(account, "cutoff_len", 2048, over_length="truncate")
        _read_template(account)
    _read_packing(account, plain=plain)
    revision = shared.read_revision(account, "model_revision")
    system = account.text("default_system")
    if system:
        account.translated("default_system", f"data.system: {shown(system)}")
    return Translation(
        tool=TOOL,
        base_model=account.text("model_name_or_path"),
        base_key="model_name_or_path",
        revision=revision,
        method=(CONTINUED_PRETRAINING if plain else SUPERVISED).name,
        train=train,
        held_out=held_out,
        prepare=prepare,
        system=system or None,
        hyperparameters=account.hyperparameters,
        seed=shared.read_seed(account, "seed", 42),
        names=tuple(filter(None, (account.text("run_name"),))),
        lines=tuple(account.lines),
        problems=tuple(account.problems),
    )


def _refuse_methods(account: Account) -> None:
    stage = str(account.value("stage", text, "sft"))
    if stage in {"sft", "pt"}:
        method = SUPERVISED.name if stage == "sft" else CONTINUED_PRETRAINING.name
        account.translated("stage", f"method: {method}")
    else:
        shared.refuse_method(account, "stage", shown(stage))
    if account.has("streaming") and account.flag("streaming"):
        account.refuse(
            "streaming",
            "reads the datasets while it trains; a spec needs datasets that can be read to their end",
            "Save the rows that you want as a file, and enter it in dataset_info.json.",
        )
    if account.has("adapter_name_or_path"):
        account.lost(
            "adapter_name_or_path", "continues an adapter that exists; a new one is trained here"
        )


def _read_kind(account: Account) -> bool:
    kind = str(account.value("finetuning_type", text, "lora"))
    if kind not in {"lora", "full"}:
        account.refuse(
            "finetuning_type", f"{shown(kind)} is not there", "Train with `lora` or `full`."
        )
    account.hyperparameters["finetuning_type"] = kind
    account.translated("finetuning_type", f"hyperparameters.finetuning_type: {kind}")
    return kind == "lora"


def _read_adapter(account: Account) -> None:
    rank = account.hyperparameters.get("r")
    double = 2 * rank if isinstance(rank, int) else 16
    alpha = account.value("lora_alpha", number, double)
    account.hyperparameters["lora_alpha"] = alpha
    account.translated("lora_alpha", f"hyperparameters.lora_alpha: {shown(alpha)}")
    if account.has("lora_target"):
        shared.read_layers(account, "lora_target", ("all", "all-linear"))
    else:
        account.hyperparameters["target_modules"] = "all-linear"
        account.translated("lora_target", "hyperparameters.target_modules: all-linear")


def _read_precision(account: Account) -> None:
    if account.has("pure_bf16") and account.flag("pure_bf16"):
        account.lost("pure_bf16", "keeps trained weights in bfloat16; they are float32 here")
        account.hyperparameters["dtype"] = "bfloat16"
        return
    if account.has("pure_bf16"):
        account.note(Fate.IDLE, "pure_bf16", "is switched off")
    shared.read_precision(account)


def _read_template(account: Account) -> None:
    template = account.text("template")
    if template:
        account.lost(
            "template",
            "is LLaMA-Factory's own text of a conversation; here the base model's chat template "
            "writes it, which may differ",
        )
    if account.has("enable_thinking"):
        thinking = account.flag("enable_thinking")
        account.lost(
            "enable_thinking",
            "is `hyperparameters.thinking: on` here, if the answers begin with thoughts"
            if thinking
            else "is the default here: answers are trained with an empty block of thoughts",
        )


def _read_packing(account: Account, *, plain: bool) -> None:
    # LLaMA-Factory packs plain texts by default.
    if account.flag("packing", default=plain):
        account.lost("packing", shared.PACKS)
    elif account.has("packing"):
        account.note(Fate.IDLE, "packing", "is switched off")
    if account.text("mix_strategy") not in {"", "concat"}:
        account.lost("mix_strategy", "is not there: every row is used once an epoch")
    elif account.has("mix_strategy"):
        account.note(Fate.IDLE, "mix_strategy", "is what happens here, too")
