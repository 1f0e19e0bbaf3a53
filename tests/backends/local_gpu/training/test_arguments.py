"""Rates, steps and optimisers of trainings are those that hyperparameters name."""

from importlib import import_module
from pathlib import Path

import pytest

from backends.local_gpu.hyperparameters import parse
from backends.local_gpu.jobs.run_dir import RunDir
from backends.local_gpu.json_files import read_json, read_lines

pytestmark = [
    pytest.mark.torch,
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]
RATE = 1e-3


@pytest.fixture(scope="module")
def arguments():
    return import_module("backends.local_gpu.training.arguments")


def expected_rates(kind, warmup, steps):
    """Return the rate of each step as transformers' own schedule gives it."""
    torch, transformers = map(import_module, ("torch", "transformers"))
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=RATE)
    schedule = transformers.get_scheduler(kind, optimizer, warmup, steps)
    rates = []
    for _ in range(steps):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return rates


@pytest.mark.parametrize(
    ("settings", "warmup", "steps"),
    [
        # 10 rows in batches of 4, the last of which is not full.
        ({"num_train_epochs": 2, "lr_scheduler_type": "linear", "warmup_steps": 2}, 2, 6),
        # Less than one is a share of all steps, rounded up.
        ({"num_train_epochs": 3, "lr_scheduler_type": "cosine", "warmup_steps": 0.34}, 4, 9),
        (
            {"num_train_epochs": 9, "max_steps": 4, "lr_scheduler_type": "constant_with_warmup"}
            | {"warmup_steps": 3},
            3,
            4,
        ),
        # Two batches of 4 are a step, and the rest of an epoch is one.
        ({"num_train_epochs": 3, "gradient_accumulation_steps": 2, "warmup_steps": 1}, 1, 6),
    ],
    ids=str,
)
def test_each_step_has_the_rate_of_its_place_in_the_schedule(
    train_here, examples, settings, warmup, steps
):
    settings = {"per_device_train_batch_size": 4, "learning_rate": RATE} | settings
    run = train_here(rows=examples(10), held_out=[], **settings)
    lines = [line for line in read_lines(run.progress) if "learning_rate" in line]
    assert [line["step"] for line in lines] == [*range(1, steps + 1)]
    assert {line["total_steps"] for line in lines} == {steps}
    kind = settings.get("lr_scheduler_type", "linear")
    rates = [line["learning_rate"] for line in lines]
    assert rates == pytest.approx(expected_rates(kind, warmup, steps), rel=1e-9)
    assert read_json(run.result)["facts"]["steps"] == steps


def test_the_first_step_of_a_warm_up_has_no_rate_and_the_last_step_of_a_schedule_has_one():
    # With another place of the schedule, the first step would learn or the last one would not.
    assert expected_rates("linear", 2, 4) == [0.0, RATE / 2, RATE, RATE / 2]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            {},
            {"max_steps": -1, "per_device_train_batch_size": 8, "gradient_accumulation_steps": 1},
        ),
        ({"max_steps": 7}, {"max_steps": 7}),
        ({"weight_decay": 0.1, "max_grad_norm": 0.5}, {"weight_decay": 0.1, "max_grad_norm": 0.5}),
        (
            {"num_train_epochs": 5, "warmup_steps": 0.1},
            {"num_train_epochs": 5, "warmup_steps": 0.1},
        ),
        ({"optim": "adamw_8bit"}, {"optim": "adamw_bnb_8bit"}),
        ({"max_tokens_per_batch": 64}, {"per_device_train_batch_size": 1}),
    ],
    ids=str,
)
def test_hyperparameters_reach_the_trainer(arguments, settings, expected):
    torch = import_module("torch")
    run = RunDir(path=Path("/runs/one"))
    complete = parse("supervised", settings)
    made = arguments.training_arguments(run, complete, 7, torch.device("cpu"))
    found = {name: getattr(made, name) for name in expected}
    assert {**found, "optim": str(getattr(found.get("optim"), "value", None))} == {
        **expected,
        "optim": expected.get("optim", "None"),
    }
    assert (made.seed, made.data_seed) == (7, None)
    # Checkpoints are this program's own affair, and so are its reports.
    assert (made.save_strategy, made.logging_steps, made.report_to) == ("no", 1, [])
    assert made.use_cpu
    assert made.output_dir == "/runs/one/checkpoints/partial"


def test_a_process_of_several_computes_its_share_of_the_batches(arguments):
    torch = import_module("torch")
    settings = parse("supervised", {"gradient_accumulation_steps": 4})
    run = RunDir(path=Path("/runs/one"))
    for accumulation, expected in ((None, 4), (2, 2), (1, 1)):
        made = arguments.training_arguments(run, settings, 7, torch.device("cpu"), accumulation)
        assert made.gradient_accumulation_steps == expected


def test_the_second_matrices_of_an_adapter_learn_at_their_own_rate(arguments, base_folder):
    torch, peft = map(import_module, ("torch", "peft"))
    folders = import_module("backends.local_gpu.models.model_folders")
    model = folders.load_model(base_folder, torch.float32, torch.device("cpu"))
    config = peft.LoraConfig(target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    adapted = peft.get_peft_model(model, config)
    settings = parse("supervised", {"learning_rate": RATE, "weight_decay": 0.1})
    run = RunDir(path=Path("/runs/one"))
    made = arguments.training_arguments(run, settings, 7, torch.device("cpu"))
    optimizer = arguments.two_rates(adapted, made, 16.0)
    names = {id(one): name for name, one in adapted.named_parameters()}
    rates = {
        names[id(one)]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for one in group["params"]
    }
    assert rates == {
        name: (16 * RATE if "lora_B" in name else RATE, 0.1)
        for name, one in adapted.named_parameters()
        if one.requires_grad
    }
    assert len(rates) == 2 * 2 * 2


@pytest.mark.parametrize(
    ("before", "after", "message", "remedy"),
    [
        ({"a": 0.0}, {"a": float("nan")}, "are not finite", "Lower `learning_rate`."),
        ({"a": 0.0}, {"a": float("-inf")}, "are not finite", "Lower `learning_rate`."),
        ({"a": 1.0, "b": 2.0}, {"a": 1.0, "b": 2.0}, "nothing was learned", "Raise"),
        ({"a": 1.0, "b": 2.0}, {"a": 1.0, "b": 2.5}, None, ""),
    ],
)
def test_a_training_has_to_change_weights_and_to_leave_them_finite(before, after, message, remedy):
    learned = import_module("backends.local_gpu.training.learned")
    errors = import_module("backends.contract.errors")
    if message is None:
        learned.check_learned(before, after)
        return
    with pytest.raises(errors.BackendError, match=message) as caught:
        learned.check_learned(before, after)
    assert remedy in caught.value.remedy


def test_what_was_trained_is_summed_and_nothing_else(base_folder):
    torch, peft = map(import_module, ("torch", "peft"))
    learned = import_module("backends.local_gpu.training.learned")
    folders = import_module("backends.local_gpu.models.model_folders")
    model = folders.load_model(base_folder, torch.float32, torch.device("cpu"))
    for one in model.parameters():
        one.requires_grad_(requires_grad=False)
    model.model.norm.weight.requires_grad_()
    width = len(model.model.norm.weight)
    assert learned.sums(model) == {"model.norm.weight": float(width)}
    config = peft.LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM", r=2)
    adapted = peft.get_peft_model(model, config)
    # Of an adapter, the half that starts at zero: the other one changes with the seed.
    assert {name.partition(".lora_")[2] for name in learned.sums(adapted)} == {"B.default.weight"}
    assert set(learned.sums(adapted).values()) == {0.0}
    errors = import_module("backends.contract.errors")
    with pytest.raises(errors.BackendError) as caught:
        learned.check_adapter(adapted, 2)
    first = "model.layers.0.self_attn.q_proj"
    assert caught.value.message == (
        f"the adapter on {first} and on 1 more layer has learned nothing"
    )


@pytest.mark.parametrize(
    ("lines", "spent"),
    [
        ("", 0.0),
        ('{"step": 1}\n', 0.0),
        ('{"spent_s": 1.5}\n{"spent_s": 4.25}\n{"message": "stopped"}\n', 4.25),
        # A line that a killed process has not finished.
        ('{"spent_s": 1.5}\n{"spent_s": 4.', 1.5),
    ],
)
def test_the_time_of_earlier_starts_is_what_they_last_reported(tmp_path, lines, spent):
    reporter = import_module("backends.local_gpu.training.reporter")
    progress = tmp_path / "progress.jsonl"
    assert reporter.spent_in(progress) == 0.0
    progress.write_text(lines)
    assert reporter.spent_in(progress) == spent
