"""From another tool to this one: a configuration is planned, an adapter is asked and measured."""

import json
import shutil

import pytest

from controller.lockfile.store import read_lockfile
from tests.tiny_base import make_base
from tests.tiny_models.foreign_adapter import make_adapter

pytestmark = pytest.mark.torch
QUESTIONS = "".join(
    json.dumps(
        {
            "messages": [
                {"role": "user", "content": f"{number}: How long are you open?"},
                {"role": "assistant", "content": f"From nine to {number}."},
            ]
        }
    )
    + "\n"
    for number in range(24)
)
TRL = """\
model_name_or_path: ./models/tiny
dataset_name: rows.jsonl
use_peft: true
lora_r: 4
lora_alpha: 8
lora_target_modules: [q_proj, v_proj]
learning_rate: 1.0e-3
num_train_epochs: 1
per_device_train_batch_size: 4
bf16: false
max_length: 128
assistant_only_loss: true
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return a folder with a base model and an adapter that plain peft trained on it."""
    folder = tmp_path_factory.mktemp("made")
    make_base(folder / "models/tiny")
    make_adapter(folder / "models/tiny", folder / "cafe-lora/checkpoint-8", name="models/tiny")
    return folder


@pytest.fixture
def cafe(shell, made, warm):
    """Return the repository, with the base model inside and the adapter outside of it."""
    assert warm
    shutil.copytree(made / "models", shell.root / "models")
    shutil.copytree(made / "cafe-lora", shell.root.parent / "cafe-lora")
    return shell


def entry_of(shell, name):
    return read_lockfile(shell.root, shell.root / ".ftctl").finetunes[name]


def test_a_configuration_is_planned_and_nothing_else(cafe):
    cafe.write("rows.jsonl", QUESTIONS)
    cafe.write("cafe.yaml", TRL)
    code, out = cafe("adopt", "--from", "cafe.yaml")
    assert code == 0
    assert "base_model: ../models/tiny" in out
    spec = (cafe.root / "finetunes/cafe.yaml").read_text()
    assert "path: ../rows.jsonl" in spec
    code, plan = cafe.json("plan")
    assert code == 0
    (action,) = plan["actions"]
    assert (action["action"], action["name"]) == ("train", "cafe")
    assert not (cafe.root / "finetunes/ftctl.lock").exists()


def adopt(shell, *more):
    return shell("adopt", "--from", "../cafe-lora/checkpoint-8", *more)


def test_an_adapter_without_data_is_recorded_and_asked_as_it_is(cafe, golden):
    code, out = adopt(cafe)
    assert code == 0
    assert "= cafe-lora: ft:tiny:cafe-lora:" in out
    assert "all 4 layers of the adapter are in the base model" in out
    assert "training_args.bin" in out
    spec = (cafe.root / "finetunes/cafe-lora.yaml").read_text()
    build = entry_of(cafe, "cafe-lora").builds[entry_of(cafe, "cafe-lora").production]
    golden("adopt/adapter.yaml", spec.replace(build.model_id, "ft:tiny:cafe-lora:RUN"))
    assert build.facts["adopted"]["files"]["adapter_model.safetensors"]["sha256"]
    assert cafe("plan")[1].startswith("No changes.")
    code, answer = cafe("chat", "cafe-lora", "-m", "How long are you open?", "--max-tokens", "6")
    assert code == 0
    assert answer.strip()
    code, out = cafe("show", "cafe-lora")
    assert code == 0
    assert "adopted     from the folder checkpoint-8" in out


def test_an_adapter_without_data_is_measured_on_examples_that_come_later(cafe):
    assert adopt(cafe, "--name", "cafe")[0] == 0
    cafe.write("finetunes/data/cafe.held-out.jsonl", QUESTIONS)
    path = cafe.root / "finetunes/cafe.yaml"
    more = (
        "data: {held_out: [{path: data/cafe.held-out.jsonl}]}\n"
        "evaluation: {metrics: [accuracy], compare_to: [], max_tokens: 4}\n"
    )
    path.write_text(path.read_text() + more)
    before = entry_of(cafe, "cafe")
    assert cafe("apply", "--auto-approve")[0] == 0
    after = entry_of(cafe, "cafe")
    assert after.builds.keys() == before.builds.keys()
    assert after.builds[after.production].evaluation.scores["candidate"].keys() >= {"accuracy"}
    assert cafe("plan")[1].startswith("No changes.")


def test_an_adapter_with_declared_data_stands_for_its_training(cafe):
    cafe.write("finetunes/data/cafe.jsonl", QUESTIONS)
    assert adopt(cafe, "--name", "cafe")[0] == 0
    spec = (cafe.root / "finetunes/cafe.yaml").read_text()
    assert "base_model: ../models/tiny" in spec
    assert "use_rslora: false" in spec
    assert cafe("plan")[1].startswith("No changes.")
    assert cafe("chat", "cafe", "-m", "Open?", "--base", "--max-tokens", "6")[0] == 0
    # The lockfile is lost: the run is found again, and nothing is trained.
    (cafe.root / "finetunes/ftctl.lock").unlink()
    _, plan = cafe.json("plan")
    assert [one["action"] for one in plan["actions"]] == ["adopt"]
    # Other data is another model, which is trained from the adapter's base.
    cafe.write("finetunes/data/cafe.jsonl", QUESTIONS.replace("nine", "ten"))
    _, plan = cafe.json("plan")
    assert [one["action"] for one in plan["actions"]] == ["train"]


def test_adopting_again_and_after_a_crash(cafe):
    assert adopt(cafe)[0] == 0
    code, out = adopt(cafe)
    assert code == 0
    assert "is recorded already" in out
    before = (cafe.root / "finetunes/ftctl.lock").read_bytes()
    # The run died before its record was written.
    (cafe.root / "finetunes/ftctl.lock").unlink()
    assert adopt(cafe)[0] == 0
    assert [one.name for one in (cafe.root / "finetunes").glob("*.yaml")] == ["cafe-lora.yaml"]
    assert (cafe.root / "finetunes/ftctl.lock").read_bytes() == before
    assert len(list((cafe.root / ".ftctl/runs").iterdir())) == 1


def test_a_base_model_that_is_elsewhere_is_named(cafe):
    config = cafe.root.parent / "cafe-lora/checkpoint-8/adapter_config.json"
    config.write_text(config.read_text().replace("models/tiny", "/mnt/models/tiny"))
    code, out = adopt(cafe)
    assert code == 1
    assert "there is no model '/mnt/models/tiny'" in out
    assert "--base_model NAME_OR_FOLDER" in out
    assert not (cafe.root / ".ftctl/runs").exists()
    assert adopt(cafe, "--base_model", "models/tiny")[0] == 0


def test_folders_that_hold_no_adapter(cafe):
    code, out = cafe("adopt", "--from", "../cafe-lora")
    assert code == 1
    assert "has no adapter_config.json" in out
    assert "checkpoint-8" in out
    code, out = cafe("adopt", "--from", "models/tiny")
    assert code == 1
    assert "Write the folder of a whole model as `base_model`" in out
    weights = cafe.root.parent / "cafe-lora/checkpoint-8/adapter_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    code, out = adopt(cafe)
    assert code == 1
    assert "is a pickle, which can run code and is never loaded" in out
    assert [one.name for one in (cafe.root / "finetunes").iterdir()] == []


@pytest.mark.parametrize(
    ("state", "said"),
    [
        # Each of 9,000 steps is logged, as `logging_steps: 1` does: more than a megabyte.
        (
            json.dumps(
                {
                    "global_step": 9000,
                    "log_history": [
                        {"epoch": 0.1, "grad_norm": 1.234567, "learning_rate": 1e-05}
                        | {"loss": 2.5, "mean_token_accuracy": 0.123456, "step": step}
                        for step in range(9000)
                    ],
                }
            ),
            "steps 9000, last loss 2.5",
        ),
        ('{"global_step": 8, "log_hist', "trainer_state.json\n      tells nothing of the training"),
        ("", "trainer_state.json\n      tells nothing of the training: it is not JSON"),
        ("[]", "= cafe-lora: "),
    ],
)
def test_no_trainer_s_state_keeps_an_adapter_from_being_adopted(cafe, state, said):
    folder = cafe.root.parent / "cafe-lora/checkpoint-8"
    (folder / "trainer_state.json").write_text(state)
    code, out = adopt(cafe)
    assert code == 0
    assert said in out + (cafe.root / "finetunes/cafe-lora.yaml").read_text()
