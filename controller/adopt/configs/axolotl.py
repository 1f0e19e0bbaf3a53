"""Configurations of Axolotl, by its schema of version 0.19. Pure."""

from collections.abc import Mapping, Sequence
from typing import Final

from backends.contract.inspector import Json
from backends.contract.methods import CONTINUED_PRETRAINING, SUPERVISED
from controller.adopt.configs import shared
from controller.adopt.configs.axolotl_rows import is_completion, read_rows
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
    number,
    numbers,
    own,
    shown,
    some_names,
    text,
    whole,
)
from controller.adopt.configs.translation import Rows, Translation

TOOL: Final = "Axolotl"
NEEDED: Final = ("base_model",)
TYPICAL: Final = (
    *("datasets", "pretraining_dataset", "micro_batch_size", "sequence_len", "val_set_size"),
    *("dataset_prepared_path", "sample_packing", "adapter", "lora_target_linear", "rl"),
)
"""Keys of which one tells this tool's configurations from all others, beside those it needs."""

TABLE: Final[Mapping[str, Key]] = {
    **shared.TRAINER,
    **own(
        "base_model revision_of_model model_revision datasets test_datasets pretraining_dataset rl "
        "adapter lora_target_linear lora_target_modules num_epochs lr_scheduler warmup_steps "
        "warmup_ratio optimizer bf16 bfloat16 fp16 float32 seed sequence_len "
        "excess_length_strategy val_set_size chat_template default_system_message reward_model "
        "process_reward_model streaming"
    ),
    "learning_rate": Becomes(name="learning_rate", read=number),
    "micro_batch_size": Becomes(name="per_device_train_batch_size", read=whole, default=1),
    **shared.UPDATES,
    **lost(
        shared.PACKS,
        "sample_packing multipack_real_batches pretrain_multipack_attn batch_flattening "
        "pretraining_sample_concatenation",
    ),
    **lost(
        shared.EIGHT_BITS,
        "load_in_8bit gptq bnb_config_kwargs model_quantization_config use_onebitllms "
        "qat quantization fp8 quantize_moe_experts",
    ),
    **lost(shared.QUESTIONS, "train_on_inputs"),
    **lost(
        shared.LINEAR_LAYERS,
        "lora_rank_pattern lora_alpha_pattern lora_fan_in_fan_out peft_layers_pattern "
        "peft_layer_replication "
        "peft_trainable_token_indices peft_init_lora_weights peft "
        "relora relora_prune_ratio jagged_restart_steps",
    ),
    **lost("continues an adapter that exists; a new one is trained here", "lora_model_dir"),
    **lost(
        "is not there: all weights that are trained have one rate",
        "embedding_lr embedding_lr_scale lr_groups loraplus_lr_embedding",
    ),
    **lost(
        "is not there: the rate falls to zero",
        "cosine_min_lr_ratio cosine_constant_lr_ratio lr_div_factor lr_quadratic_warmup",
    ),
    **lost("is not there: every weight is trained, or none", "unfrozen_parameters"),
    **lost(
        shared.TOKENIZER,
        "special_tokens tokens added_tokens_overrides tokenizer_config resize_token_embeddings_to_32x "
        "eot_tokens fix_untrained_tokens tokenizer_legacy",
    ),
    **lost(
        "changes the base model's configuration, which stays as it is here",
        "overrides_of_model_config model_config overrides_of_model_kwargs model_kwargs "
        "base_model_config cls_model_config rope_scaling reinit_weights",
    ),
    **lost(
        "is not there: the loss is the mean over learned tokens",
        "use_eaft eaft_alpha chunked_cross_entropy_num_chunks orpo_alpha noisy_embedding_alpha",
    ),
    **lost(
        "is not there: rows are drawn at random, each once an epoch",
        "curriculum_sampling shuffle_merged_datasets dataset_shard_num",
    ),
    **lost(
        "is not carried over: hyperparameters.early_stopping: {patience: …} does it here",
        "early_stopping_patience",
    ),
    **lost(
        "is not there: training runs to its end", "loss_watchdog_threshold loss_watchdog_patience"
    ),
    **lost("is not there: bfloat16, or float32", "float16"),
    **lost(
        "is not there",
        "plugins chat_template_jinja chat_template_kwargs trainer_cls "
        "batch_size min_sample_len max_prompt_len ebft trl",
    ),
    **idle(
        "chooses how attention is computed, which is the same sum here",
        "flash_attention sdp_attention xformers_attention flex_attention sage_attention "
        "eager_attention attn_implementation flash_attn_cross_entropy flash_attn_fuse_mlp "
        "flash_optimum s2_attention",
    ),
    **idle(
        shared.MACHINE,
        "pad_to_sequence_len pad_to_multiple_of dataset_processes dataset_num_proc lora_mlp_kernel "
        "lora_qkv_kernel lora_o_kernel lora_on_cpu device device_map ddp world_size max_memory "
        "gpu_memory_limit low_cpu_mem_usage gc_steps gc_collect_steps activation_offloading "
        "layer_offloading tiled_mlp sample_packing_group_size sample_packing_bin_size "
        "eval_sample_packing sequence_parallel_degree context_parallel_size tensor_parallel_size "
        "fsdp_version fsdp_final_state_dict_type dp_shard_size dp_replicate_size "
        "chunked_cross_entropy use_kernels experimental_skip_move_to_device "
        "dataset_keep_in_memory streaming_multipack_buffer_size pretrain_multipack_buffer_size "
        "peft_autocast_adapter_dtype selective_checkpointing",
    ),
    **idle(
        shared.RUN,
        "dataset_prepared_path wandb_project wandb_entity wandb_watch wandb_name wandb_run_id "
        "wandb_log_model wandb_mode mlflow_tracking_uri mlflow_experiment_name mlflow_run_name "
        "comet_project_name use_tensorboard evals_per_epoch saves_per_epoch eval_batch_size "
        "eval_table_size eval_max_new_tokens eval_causal_lm_metrics do_causal_lm_eval "
        "eval_sequence_len eval_strategy evaluation_strategy save_safetensors strict debug "
        "push_dataset_to_hub hf_use_auth_token auto_resume_from_checkpoints save_first_step "
        "generate_samples num_generation_samples profiler_steps use_trackio merge_lora",
    ),
    **idle(
        "tells Axolotl what the base model's own files tell here",
        "model_type tokenizer_type processor_type tokenizer_use_fast is_falcon_derived_model "
        "is_llama_derived_model is_mistral_derived_model is_qwen_derived_model "
        "tokenizer_save_jinja_files",
    ),
}
_ADAPTER: Final[Mapping[str, Key]] = {
    "lora_r": Becomes(name="r", read=whole, default=8),
    "lora_alpha": Becomes(name="lora_alpha", read=number, default=8),
    "lora_dropout": Becomes(name="lora_dropout", read=number, default=0.0),
    "lora_modules_to_save": Becomes(name="modules_to_save", read=some_names),
    "lora_target_parameters": Becomes(name="target_parameters", read=some_names),
    "peft_layers_to_transform": Becomes(name="layers_to_transform", read=numbers),
    "peft_use_rslora": Becomes(name="use_rslora", read=flag, default=False),
    "load_in_4bit": Becomes(name="quantization", read=four_bits),
    "peft_use_dora": Becomes(name="use_dora", read=flag),
    **shared.LORA_PLUS,
}


def translate(config: Mapping[str, Json], file: str, line_of: LineOf) -> Translation:
    """Translate a configuration.

    Args:
        config: The parsed file.
        file: Its name in messages.
        line_of: Returns the line of a path.
    """
    account = Account(given=flat(config), file=file, line_of=line_of)
    has_adapter = _read_adapter(account)
    go_through(account, {**TABLE, **shared.adapter_keys(_ADAPTER, has_adapter=has_adapter)})
    _refuse_methods(account)
    shared.read_epochs(account, "num_epochs", 1)
    shared.read_schedule(account, "lr_scheduler", "cosine")
    shared.read_warmup(account, "warmup_ratio", "warmup_steps", default=0.03)
    shared.read_optimizer(account, "optimizer")
    old = account.has("bfloat16")
    full = account.has("float32") and account.flag("float32")
    if account.has("float32"):
        account.translated("float32", f"hyperparameters.dtype: {'float32' if full else 'as bf16'}")
    shared.read_precision(
        account, bf16="bfloat16" if old else "bf16", default="float32" if full else "auto"
    )
    plain = account.has("pretraining_dataset") or is_completion(config.get("datasets"))
    key = "pretraining_dataset" if account.has("pretraining_dataset") else "datasets"
    train = tuple(read_rows(account, key, plain=plain))
    if not train:
        account.refuse(key, "names no dataset", "Add `datasets:` there.")
    if account.has("test_datasets"):
        held_out: Sequence[Rows] | float = tuple(read_rows(account, "test_datasets", plain=plain))
    else:
        held_out = shared.share_of(account, "val_set_size")
    prepare: dict[str, Json] = {}
    if plain:
        shared.read_blocks(account, "sequence_len", 512)
    else:
        prepare = _read_length(account)
        shared.read_template(account, "chat_template", "tokenizer_default")
    system = account.text("default_system_message")
    if system:
        account.translated("default_system_message", f"data.system: {shown(system)}")
    return Translation(
        tool=TOOL,
        base_model=account.text("base_model"),
        base_key="base_model",
        revision=_revision(account),
        method=(CONTINUED_PRETRAINING if plain else SUPERVISED).name,
        train=train,
        held_out=held_out,
        prepare=prepare,
        system=system or None,
        hyperparameters=account.hyperparameters,
        seed=shared.read_seed(account, "seed", 42),
        names=tuple(filter(None, (account.text("hub_model_id").rpartition("/")[2],))),
        lines=tuple(account.lines),
        problems=tuple(account.problems),
    )


def _read_adapter(account: Account) -> bool:
    kind = account.text("adapter")
    if kind not in {"", "lora", "qlora"}:
        account.refuse(
            "adapter",
            f"{shown(kind)} is not an adapter that local-gpu has",
            "Train with `adapter: lora`.",
        )
    account.hyperparameters["finetuning_type"] = "lora" if kind else "full"
    account.translated("adapter", f"hyperparameters.finetuning_type: {'lora' if kind else 'full'}")
    if not kind:
        return False
    if account.flag("lora_target_linear"):
        account.hyperparameters["target_modules"] = "all-linear"
        account.translated("lora_target_linear", "hyperparameters.target_modules: all-linear")
        if account.has("lora_target_modules"):
            account.translated("lora_target_modules", "is within all-linear")
    else:
        shared.read_layers(account, "lora_target_modules", ("all-linear",))
    return True


def _refuse_methods(account: Account) -> None:
    for key in ("rl", "reward_model", "process_reward_model"):
        value = account.given.get(key)
        if value not in (None, False, ""):
            said = shown(value) if key == "rl" else "true"
            shared.refuse_method(account, key, said)
    if account.has("streaming") and account.flag("streaming"):
        account.refuse(
            "streaming",
            "reads the datasets while it trains; a spec needs datasets that can be read to their end",
            "Save the rows that you want as a file, and name it in `datasets`.",
        )


def _read_length(account: Account) -> dict[str, Json]:
    key = "excess_length_strategy"
    strategy = str(account.value(key, text, "drop"))
    over = {"drop": "drop", "truncate": "truncate", "raise": "error"}.get(strategy, "drop")
    account.translated(key, f"data.prepare.over_length: {over}")
    return shared.read_length(account, "sequence_len", 512, over_length=over)


def _revision(account: Account) -> str | None:
    for key in ("revision_of_model", "model_revision"):
        if revision := account.text(key):
            account.translated(key, f"revision: {shown(revision)}")
            return revision
    return None
