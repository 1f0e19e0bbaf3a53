"""Each tool's configuration becomes a spec, and a report that names every key."""

import json
from pathlib import Path

import pytest

from controller.adopt.config_files import read_config
from controller.spec.load import read_spec

FILES = Path(__file__).parent / "files"
TOOLS = ("axolotl", "llama_factory", "trl", "soup")


@pytest.fixture
def adopt(shell, elsewhere, monkeypatch):
    """Return a function that adopts a file of the folder and returns exit code and output."""
    monkeypatch.chdir(elsewhere)

    def run(file, *more):
        code, out = shell("adopt", "--from", str(file), *more)
        return code, out.replace(str(elsewhere), "/elsewhere")

    return run


def specs(shell):
    return sorted((shell.root / "finetunes").glob("*.yaml"))


@pytest.mark.parametrize("tool", TOOLS)
def test_report_and_spec(adopt, shell, golden, tool):
    code, out = adopt(f"{tool}.yaml")
    assert code == 0
    golden(f"adopt/{tool}.txt", out)
    (spec,) = specs(shell)
    loaded, problems = read_spec(shell.root, spec, file=spec.name)
    assert problems == []
    assert loaded is not None
    golden(f"adopt/{tool}.yaml", spec.read_text())


@pytest.mark.parametrize("tool", TOOLS)
def test_every_key_is_named(adopt, shell, tool):
    config, _ = read_config(FILES / f"{tool}.yaml", tool)
    assert adopt  # it enters the folder
    _, found = shell.json("adopt", "--from", f"{tool}.yaml")
    told = {one["key"] for one in found["keys"]}

    def is_told(key, value):
        inside = isinstance(value, dict) and all(
            is_told(f"{key}.{one}", value[one]) for one in value
        )
        items = isinstance(value, list) and all(
            isinstance(one, dict) and all(is_told(f"{key}[{at}].{name}", one[name]) for name in one)
            for at, one in enumerate(value)
        )
        return key in told or inside or items

    assert [key for key, value in config.items() if not is_told(key, value)] == []


def test_keys_that_change_the_training_come_first(adopt):
    out = adopt("axolotl.yaml")[1]
    lost, rest = out.split("\n\nTranslated")
    for key in ("sample_packing", "num_epochs", "neftune_noise_alpha"):
        assert f": {key}:" in lost
        assert f"\n  {key}:" not in rest
    assert "? axolotl.yaml:59: temperatur: 0.7" in lost


def test_what_local_gpu_has_too_is_carried_over(adopt, shell):
    """Four bits, eight-bit states, DoRA: the spec that is written trains with them."""
    given = {
        "axolotl": ["quantization: nf4", "optim: adamw_8bit"],
        "llama_factory": ["quantization: nf4"],
        "soup": ["quantization: nf4", "use_dora: true"],
    }
    for tool in given:
        adopt(f"{tool}.yaml")
    specs = [path.read_text("utf-8") for path in (shell.root / "finetunes").glob("*.yaml")]
    for settings in given.values():
        assert any(all(f"  {one}\n" in spec for one in settings) for spec in specs)


def test_data_outside_the_repository_is_copied_and_named(adopt, shell, elsewhere):
    out = adopt("soup.yaml")[1]
    copied = shell.root / "finetunes/data/cafe-answers-tickets.jsonl"
    assert copied.read_bytes() == (elsewhere / "data/tickets.jsonl").read_bytes()
    assert "copied finetunes/data/cafe-answers-tickets.jsonl" in out


def test_data_inside_the_repository_is_named_where_it_is(shell, elsewhere):
    inside = shell.root / "training"
    elsewhere.rename(inside)
    code, out = shell("adopt", "--from", "training/soup.yaml")
    assert code == 0
    assert "is ../training/data/tickets.jsonl, relative to finetunes/" in out
    assert not (shell.root / "finetunes/data").exists()
    spec = (shell.root / "finetunes/cafe-answers.yaml").read_text()
    assert "path: ../training/data/tickets.jsonl" in spec
    assert spec.startswith("# From training/soup.yaml, a configuration of Soup.")


def test_adopting_twice_writes_once(adopt, shell):
    assert adopt("trl.yaml")[0] == 0
    (spec,) = specs(shell)
    before = spec.stat()
    code, out = adopt("trl.yaml")
    assert code == 0
    assert "finetunes/cafe-answers-lora.yaml says the same already" in out
    assert [one.stat() for one in specs(shell)] == [before]


def test_a_changed_spec_is_never_overwritten(adopt, shell):
    assert adopt("trl.yaml")[0] == 0
    (spec,) = specs(shell)
    spec.write_text(spec.read_text().replace("seed: 7", "seed: 8"))
    code, out = adopt("trl.yaml")
    assert code == 1
    assert "is the spec of another model; it was not changed" in out
    assert adopt("trl.yaml", "--name", "second")[0] == 0


def test_a_json_configuration(adopt, shell, elsewhere):
    (elsewhere / "run.json").write_text(
        '{"model_name_or_path": "acme/base", "stage": "pt", "dataset": "hours",'
        ' "dataset_dir": "lf_data", "cutoff_len": 512}'
    )
    assert adopt("run.json")[0] == 0
    spec = (shell.root / "finetunes/run.yaml").read_text()
    assert "method: continued-pretraining" in spec
    assert "max_length: 512" in spec


def test_a_base_model_that_a_person_names(adopt, shell):
    assert adopt("soup.yaml", "--base_model", "acme/other")[0] == 0
    assert "base_model: acme/other" in (shell.root / "finetunes/cafe-answers.yaml").read_text()


AXOLOTL = "base_model: acme/base\ndatasets:\n  - path: acme/rows\n    type: chat_template\n"
TRL = "model_name_or_path: acme/base\ndataset_name: acme/rows\n"
SOUP = "base: acme/base\ntask: sft\ndata: {train: acme/rows}\n"
FACTORY = "model_name_or_path: acme/base\nstage: sft\ndataset: hours\ndataset_dir: lf_data\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1", "bad.yaml:2: is not YAML"),
        ("- 1\n", "must be a mapping of keys to values"),
        ("name: hello\n", "none of the tools that ftctl reads"),
        ("name: hello\n", "Soup: base, data, and one of task, training"),
        (f"{AXOLOTL}rl: dpo\n", "bad.yaml:5: rl: 'dpo': is not translated from configurations"),
        (f"{AXOLOTL}streaming: true\n", "streaming: reads the datasets while it trains"),
        (
            AXOLOTL.replace("acme/rows", "./rows.py"),
            "datasets[0].path: './rows.py' comes from a script",
        ),
        (AXOLOTL.replace("acme/rows", "rows.jsonl"), "there is no file 'rows.jsonl' in /elsewhere"),
        (AXOLOTL.replace("acme/rows", "imdb"), "a dataset of the hub is called OWNER/NAME"),
        (
            AXOLOTL.replace("acme/base", "./models/base"),
            "base_model: there is no model './models/base'",
        ),
        (
            AXOLOTL.replace("chat_template", "input_output"),
            "datasets[0].type: marks what is learned",
        ),
        (f"{AXOLOTL}    split: train+test\n", "'train+test' is a part of a split"),
        (f"{AXOLOTL}micro_batch_size: 0\n", "bad.yaml:5: micro_batch_size: must be at least 1"),
        (f"{AXOLOTL}seed: -1\n", "bad.yaml:5: seed: must be at least 0"),
        (f"{AXOLOTL}learning_rate: fast\n", "learning_rate: must be a number, not 'fast'"),
        (f"{AXOLOTL}adapter: llama-adapter\n", "adapter: 'llama-adapter' is not an adapter"),
        (
            f"{AXOLOTL}adapter: lora\nlora_target_modules: ['.*_proj']\n",
            "is a pattern in a list of names",
        ),
        (f"{TRL}beta: 0.1\n", "beta: is a key of `trl dpo`"),
        (f"{TRL}dataset_streaming: true\n", "dataset_streaming: reads the dataset while it trains"),
        ("model_name_or_path: acme/base\nuse_peft: true\n", "dataset_name: is missing"),
        (f"{SOUP}modality: vision\n", "modality: 'vision': local-gpu trains on texts"),
        (SOUP.replace("sft", "grpo"), "task: 'grpo': is not translated from configurations"),
        (
            SOUP.replace("acme/rows}", "acme/rows, format: llava}"),
            "'llava' is not a format of conv",
        ),
        (FACTORY.replace("sft", "kto"), "stage: 'kto': is not translated from configurations"),
        (FACTORY.replace("hours", "nobody"), "dataset_info.json has no entry 'nobody' in lf_data"),
        (FACTORY.replace("lf_data", "gone"), "dataset_info.json is missing in gone"),
        (FACTORY.replace("hours", "script"), "'script' comes from a script"),
        (FACTORY.replace("hours", "pairs"), "'pairs' holds pairs of answers"),
        (f"{FACTORY}finetuning_type: freeze\n", "finetuning_type: 'freeze' is not there"),
    ],
)
def test_what_no_spec_can_say_is_refused_with_its_place(adopt, shell, elsewhere, text, said):
    (elsewhere / "bad.yaml").write_text(text)
    code, out = adopt("bad.yaml")
    assert code == 1
    assert said in out
    assert "Traceback" not in out
    assert list((shell.root / "finetunes").iterdir()) == []


ODD = (None, True, -1, 0, 2.5, 1e400, "", "\x1b[31m", "x" * 5000, [], [1, {}], {}, {"a": [{}]})


@pytest.mark.parametrize("tool", TOOLS)
def test_no_value_of_a_key_is_a_defect(shell, elsewhere, monkeypatch, tool):
    monkeypatch.chdir(elsewhere)
    config, _ = read_config(FILES / f"{tool}.yaml", tool)
    for path in paths(config):
        for value in ODD:
            (elsewhere / "odd.json").write_text(json.dumps(replaced(config, path, value)))
            code, out = shell("adopt", "--from", "odd.json", "--name", "odd")
            assert code in {0, 1}, (path, value, out)
            assert "\x1b" not in out
            for spec in specs(shell):
                assert read_spec(shell.root, spec, file=spec.name)[1] == [], (path, value)
                assert "\x1b" not in spec.read_text()
                spec.unlink()


def paths(value):
    """Yield the path of every value within mappings and lists."""
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in inside:
        yield (key,)
        if isinstance(item, dict | list):
            yield from ((key, *path) for path in paths(item))


def replaced(config, path, value):
    copy = json.loads(json.dumps(config))
    place = copy
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    return copy


@pytest.mark.parametrize("key", ["max_length", "max_seq_length"])
def test_trl_cuts_nothing_where_its_length_is_null(adopt, shell, elsewhere, key):
    """TRL's own examples write `max_length: null`, which is not its default of 1,024 tokens."""
    (elsewhere / "whole.yaml").write_text(f"{TRL}{key}: null\n")
    code, out = adopt("whole.yaml")
    assert code == 0
    assert f"  {key} → is null: examples of any length are whole" in out
    assert "max_tokens" not in out + (shell.root / "finetunes/whole.yaml").read_text()


def test_all_problems_are_told_at_once(adopt, elsewhere):
    (elsewhere / "bad.yaml").write_text(f"{AXOLOTL}rl: dpo\nstreaming: true\nnum_epochs: many\n")
    out = adopt("bad.yaml")[1]
    assert all(key in out for key in ("rl:", "streaming:", "num_epochs:"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--from", "gone.yaml"], "there is no file or folder gone.yaml"),
        (["--from", "trl.yaml", "--all"], "--all is for a server"),
        (["ftjob-1", "--from", "trl.yaml"], "'ftjob-1' is for a server"),
        (["--from", "trl.yaml", "--endpoint", "eu"], "--endpoint is for a server"),
        (["--from", "trl.yaml", "--name", "Not A Name"], "is not a name for a fine-tune"),
        (["--from", "lf_data"], "has no adapter_config.json"),
    ],
)
def test_options_that_mean_nothing_are_refused(shell, elsewhere, monkeypatch, arguments, said):
    monkeypatch.chdir(elsewhere)
    code, out = shell("adopt", *arguments)
    assert code == 1
    assert said in out
