"""What an adapter trains: chosen by name from files and from the loaded model alike."""

import json
import shutil
from importlib import import_module

import pytest

from backends.contract.errors import BackendError
from backends.contract.jobs import BaseModel
from backends.local_gpu.hyperparameters import parse
from backends.local_gpu.models.targets.problems import choice_problems
from backends.local_gpu.models.targets.selection import Kind, chooses_more, select
from backends.local_gpu.models.targets.stored import read_stored
from backends.local_gpu.models.targets.trained_part import trained_part

pytestmark = [
    pytest.mark.torch,
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:The following .*_pattern keys did not match:RuntimeWarning"),
]
MOE, SHARES, SEES, FUSED = "qwen3-moe", "smollm3", "gemma3-vision", "gpt-oss"


def settings_of(**settings):
    return parse("supervised", settings) | {"recipe": 2}


def chosen(folder, **settings):
    targets = select(read_stored(folder).known, settings_of(**settings))
    return {one.name for one in (*targets.layers, *targets.parameters)}


def told(folder, **settings):
    settings = settings_of(**settings)
    assert chooses_more(settings)
    problems = choice_problems(read_stored(folder), settings)
    return {problem.field: (problem.message, problem.remedy) for problem in problems}


def test_each_choice_is_read(family):
    folder = family(MOE)
    every = chosen(folder)
    assert {name.rpartition(".")[2] for name in every} >= {"q_proj", "gate_up_proj", "weight"}
    assert not any(".gate." in name for name in chosen(folder, exclude_modules=["gate"]))
    assert not any("experts" in name for name in chosen(folder, exclude_modules=["experts"]))
    only = chosen(folder, layers_to_transform=[1])
    assert only == {name for name in every if ".layers.1." in name}
    some = chosen(folder, target_modules=r".*\.(q|v)_proj")
    assert {name.rpartition(".")[2] for name in some} == {"q_proj", "v_proj"}
    less = chosen(folder, exclude_modules=r".*layers\.0\..*")
    assert less == only
    named = {"target_modules": ["q_proj"], "target_parameters": ["experts.down_proj"]}
    assert {name.rpartition(".")[2] for name in chosen(folder, **named)} == {"q_proj", "down_proj"}
    targets = select(read_stored(folder).known, settings_of(modules_to_save=["lm_head", "q_proj"]))
    assert {one.name.rpartition(".")[2] for one in targets.saved} == {"lm_head", "q_proj"}
    # What is trained whole has no adapter beside.
    assert not {*targets.saved} & {*targets.layers}


@pytest.mark.parametrize(
    ("settings", "field", "message", "remedy"),
    [
        ({"target_modules": r".*\.q_porj"}, "target_modules", "matches no layer", "`q_proj`?"),
        (
            {"target_parameters": ["experts.gate_proj"]},
            "target_parameters",
            "no parameter 'experts.gate_proj'",
            "Did you mean `experts.gate_up_proj`?",
        ),
        ({"exclude_modules": ["gat"]}, "exclude_modules", "nothing is excluded", "`gate`?"),
        ({"layers_to_transform": [2]}, "layers_to_transform", "no layer 2", "from 0 to 1"),
        ({"modules_to_save": ["lmhead"]}, "modules_to_save", "no layer 'lmhead'", "`lm_head`?"),
        (
            {"modules_to_save": ["q_proj"], "quantization": "nf4"},
            "modules_to_save",
            "q_proj is in 4 bits",
            "Remove it",
        ),
        (
            {"target_modules": ["q_proj"], "exclude_modules": ["q_proj"]},
            "target_modules",
            "nothing is left",
            "Exclude less",
        ),
        (
            {"exclude_modules": ["gate"], "lora_dropout": 0.1},
            "lora_dropout",
            "experts share",
            "`exclude_modules: [experts, gate, router]`",
        ),
    ],
)
def test_what_matches_nothing_is_refused_with_the_nearest_name(
    family, settings, field, message, remedy
):
    found = told(family(MOE), **settings)
    assert [*found] == [field]
    assert message in found[field][0]
    assert remedy in found[field][1]


def test_a_model_without_experts_says_so(family):
    found = told(family(SHARES), target_parameters=["experts.down_proj"])
    assert "no experts that share" in found["target_parameters"][0]


def test_shared_weights_get_no_adapter(family):
    found = told(family(SHARES), target_modules=r".*embed_tokens")
    assert "same weights" in found["target_modules"][0]
    assert found["target_modules"][1].startswith("Write `modules_to_save: [embed_tokens]`")


@pytest.mark.parametrize("name", ["wte", "lm_head", "transformer.wte"])
def test_shared_weights_under_a_name_that_peft_does_not_know_are_refused_in_the_plan(family, name):
    message, remedy = told(family("gpt2"), modules_to_save=[name])["modules_to_save"]
    assert message.startswith(f"{name} cannot be trained whole")
    assert "calls them wte" in message
    assert remedy == f"Remove {name}."
    _, remedy = told(family("gpt2"), target_modules=r".*\.wte")["target_modules"]
    assert remedy == "Choose layers without wte."


SEEING = ("gemma3-vision", "qwen2-vl", "qwen3.5")


@pytest.mark.parametrize("name", SEEING)
def test_the_plan_knows_the_names_of_a_loaded_model_that_sees(family, name):
    torch = import_module("torch")
    loaded = import_module("backends.local_gpu.models.targets.loaded")
    folders = import_module("backends.local_gpu.models.model_folders")
    model = folders.load_model(family(name), torch.float32, torch.device("cpu"))
    stored = read_stored(family(name))
    assert stored.named
    kinds = (Kind.LINEAR, Kind.HEAD, Kind.EMBEDDING)
    names = {one.name for one in stored.known.of(*kinds)}
    if stored.known.tied:
        names.add("lm_head")
    assert names == {one.name for one in loaded.known_of(model).of(*kinds)}


@pytest.mark.parametrize("name", SEEING)
def test_the_plan_checks_patterns_on_a_model_that_sees(family, name):
    folder = family(name)
    found = told(folder, target_modules=r".*\.q_porj", exclude_modules=r".*\.k_porj")
    assert [*found] == ["target_modules", "exclude_modules"]
    assert "matches no layer" in found["target_modules"][0]
    whole = next(one.name for one in read_stored(folder).known.of(Kind.LINEAR))
    assert found["target_modules"][1].endswith(f"Whole names are such as {whole}.")
    assert not told(folder, target_modules=whole.replace(".", r"\."))
    # The names in its files are not those of the loaded model.
    other = "language_model.model.layers" + whole.partition("layers")[2]
    assert told(folder, target_modules=other.replace(".", r"\."))


def test_names_of_an_unusual_language_part_are_left_to_the_job(family, tmp_path):
    folder = tmp_path / "unusual"
    shutil.copytree(family("gemma3-vision"), folder)
    files = import_module("safetensors.torch")
    weights = files.load_file(folder / "model.safetensors")
    renamed = {
        name.replace("language_model.model.", "model.text_model."): one
        for name, one in weights.items()
    }
    files.save_file(renamed, folder / "model.safetensors", {"format": "pt"})
    assert not read_stored(folder).named
    assert not told(folder, target_modules=r"model\.language_model\..*\.q_proj")


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        (MOE, {}, ["the router"]),
        (MOE, {"exclude_modules": ["gate"]}, []),
        (FUSED, {}, ["are experts that get no adapter"]),
        (FUSED, {"target_parameters": ["experts.gate_up_proj", "experts.down_proj"]}, []),
        (SHARES, {}, []),
    ],
)
def test_a_plan_warns_of_experts_and_routers(family, name, settings, words):
    part = trained_part(read_stored(family(name)), settings_of(**settings))
    assert len(part.warnings) == len(words)
    assert all(word in said for word, said in zip(words, part.warnings, strict=True))
    assert part.adapter_bytes == 4 * part.parameters


def test_full_training_counts_the_language_part(family):
    part = trained_part(read_stored(family(SEES)), settings_of(finetuning_type="full"))
    assert 0 < part.parameters < part.of
    assert part.adapter_bytes is None


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        (MOE, {"exclude_modules": ["gate"]}),
        (FUSED, {"target_modules": ["q_proj"], "target_parameters": ["experts.down_proj"]}),
        (SHARES, {"modules_to_save": ["lm_head"], "layers_to_transform": [1]}),
        (SEES, {"modules_to_save": ["embed_tokens"], "exclude_modules": ["down_proj"]}),
    ],
)
def test_what_was_chosen_is_trained_saved_merged_and_loaded_by_others(
    family, tmp_path, name, settings
):
    torch, peft, transformers = map(import_module, ("torch", "peft", "transformers"))
    adapters = import_module("backends.local_gpu.models.adapters")
    merging = import_module("backends.local_gpu.models.merging")
    folders = import_module("backends.local_gpu.models.model_folders")
    folder, complete = family(name), settings_of(**settings)
    stored = read_stored(folder)
    model = folders.load_model(folder, torch.float32, torch.device("cpu"))
    adapted = adapters.add_adapter(model, complete)
    learning = {id(one): one for one in adapted.parameters() if one.requires_grad}
    expected = select(stored.known, complete)
    assert sum(one.numel() for one in learning.values()) == expected.size(complete["r"])
    torch.manual_seed(0)
    with torch.no_grad():
        for one in learning.values():
            one.add_(torch.randn_like(one) * 0.02)
    ids = torch.arange(5, 25)[None]
    own = adapted.eval()(input_ids=ids).logits
    base = BaseModel(reference=str(folder), revision=None, identity="made")
    adapters.save_adapter(adapted, tmp_path / "adapter", base, folder)
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert all(name.startswith("model.") for name in config["target_modules"])
    if any(one.kind is Kind.EMBEDDING for one in expected.saved):
        assert config["ensure_weight_tying"]
    sees = name == SEES
    opener = transformers.AutoModelForImageTextToText if sees else None
    opener = opener or transformers.AutoModelForCausalLM
    plain = opener.from_pretrained(folder, dtype=torch.float32)
    theirs = peft.PeftModel.from_pretrained(plain, tmp_path / "adapter").eval()
    torch.testing.assert_close(theirs(input_ids=ids).logits, own, rtol=0, atol=1e-5)
    (tmp_path / "merged").mkdir()
    merging.write_merged(tmp_path / "adapter", folder, tmp_path / "merged")
    merged, found = opener.from_pretrained(
        tmp_path / "merged", dtype=torch.float32, output_loading_info=True
    )
    assert not any(found.values()), found
    torch.testing.assert_close(merged.eval()(input_ids=ids).logits, own, rtol=0, atol=1e-4)


def test_shared_weights_that_peft_does_not_know_are_refused(family):
    torch = import_module("torch")
    loaded = import_module("backends.local_gpu.models.targets.loaded")
    folders = import_module("backends.local_gpu.models.model_folders")
    model = folders.load_model(family("gpt2"), torch.float32, torch.device("cpu"))
    with pytest.raises(BackendError, match="wte cannot be trained whole") as caught:
        loaded.peft_choice(model, settings_of(modules_to_save=["wte"]))
    assert caught.value.remedy == "Remove wte from `modules_to_save`."
