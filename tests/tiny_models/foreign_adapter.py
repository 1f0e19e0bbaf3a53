"""An adapter as plain peft trains and saves it, in a folder like those of other tools."""

import json
import warnings
from importlib import import_module
from pathlib import Path


def make_adapter(
    base: Path, folder: Path, *, seed: int = 0, name: str | None = None, **settings
) -> Path:
    """Train an adapter for a few steps and write it, with what a Trainer writes beside it.

    Args:
        base: Folder of the base model.
        folder: A new folder.
        seed: Seed of the adapter's weights.
        name: The base model's name in its settings; its folder when None.
        settings: More settings of peft.
    """
    peft, torch = import_module("peft"), import_module("torch")
    torch.manual_seed(seed)
    model = import_module("transformers").AutoModelForCausalLM.from_pretrained(base)
    chosen = {"target_modules": ["q_proj", "v_proj"], **settings}
    config = peft.LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, **chosen)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers by an old name
        adapted = peft.get_peft_model(model, config)
    optimizer = torch.optim.AdamW(
        (one for one in adapted.parameters() if one.requires_grad), lr=0.05
    )
    tokens = torch.randint(3, 250, (2, 24), generator=torch.Generator().manual_seed(seed))
    for _ in range(8):
        adapted(input_ids=tokens, labels=tokens).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    adapted.save_pretrained(folder, save_embedding_layers=False)
    file = folder / "adapter_config.json"
    told = json.loads(file.read_text()) | {"base_model_name_or_path": name or str(base)}
    file.write_text(json.dumps(told, indent=2))
    state = {"global_step": 8, "epoch": 2.0, "log_history": [{"step": 8, "loss": 1.5}]}
    (folder / "trainer_state.json").write_text(json.dumps(state))
    (folder / "training_args.bin").write_bytes(b"PK\x03\x04")
    return folder
