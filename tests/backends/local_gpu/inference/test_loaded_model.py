"""Answers of many adapters on one model, some of which cannot be loaded or break a step."""

import random
import shutil
from importlib import import_module

import pytest

from backends.contract.errors import BackendError
from backends.local_gpu.inference.trained_models import TrainedModel
from backends.local_gpu.templates.answers import AnswerReader
from backends.local_gpu.templates.call_forms import Form

pytestmark = [
    pytest.mark.torch,
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]
EXPERTS = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]


def trained(name, folder):
    return TrainedModel(
        id=name,
        folder=str(folder),
        adapter=True,
        chat_template=None,
        thinking=False,
        max_length=None,
        dtype="auto",
    )


@pytest.fixture(scope="module")
def tokenizer(base_folder):
    return import_module("backends.local_gpu.tokens.chat_tokens").open_tokenizer(base_folder)


def fresh_model():
    transformers = import_module("transformers")
    import_module("torch").manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "moe_intermediate_size": 16}
    counts = {"num_attention_heads": 2, "num_key_value_heads": 1, "num_hidden_layers": 1}
    config = transformers.Qwen3MoeConfig(
        vocab_size=600, head_dim=16, num_experts=4, num_experts_per_tok=2, **sizes, **counts
    )
    return transformers.Qwen3MoeForCausalLM(config).eval()


@pytest.fixture(scope="module")
def adapters(tmp_path_factory):
    """Write adapters of several kinds; return each as the engine's process knows it."""
    torch, peft = import_module("torch"), import_module("peft")
    made = {}
    for seed, (name, target, parameters) in enumerate(
        [
            ("plain", ["q_proj", "v_proj"], None),
            ("other", ["q_proj"], None),
            ("fused", ["q_proj"], EXPERTS),
            ("fused again", None, EXPERTS),
            ("half", ["q_proj"], EXPERTS[1:]),
        ]
    ):
        torch.manual_seed(seed)
        config = peft.LoraConfig(
            r=4, init_lora_weights=False, target_modules=target, target_parameters=parameters
        )
        folder = tmp_path_factory.mktemp("adapters") / name / "model"
        peft.get_peft_model(fresh_model(), config).save_pretrained(folder)
        made[name] = trained(name, folder)
    return made


@pytest.fixture(scope="module")
def experts_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("experts")
    fresh_model().config.save_pretrained(folder)
    return folder


@pytest.fixture
def loaded(experts_folder):
    made = import_module("backends.local_gpu.inference.loaded_model")
    return made.LoadedModel(fresh_model(), import_module("torch").float32, experts_folder)


class Failing(AnswerReader):
    """A reader that breaks at the third piece."""

    pieces = 0

    def feed(self, piece):
        self.pieces += 1
        if self.pieces == 3:
            raise ZeroDivisionError
        return super().feed(piece)


def put(loaded, tokenizer, asked, number, reader=AnswerReader):
    """Ask a question of an adapter; None is the base model."""
    answers = import_module("backends.local_gpu.inference.active_answer")
    row = answers.ActiveAnswer(
        id=number,
        prompt=[5, 6, 7, 8 + number % 2],
        adapter=loaded.attach(asked),
        ends=frozenset(),
        text=answers.StreamingText(
            tokenizer=tokenizer,
            control=frozenset(),
            reader=reader(form=Form(), types={}, offered=False, opening=""),
            stop=(),
        ),
        max_tokens=8,
        temperature=0.0,
        chance=random.Random(0),
    )
    loaded.batch.waiting.append(row)
    return row


def run(loaded):
    failed = []
    for _ in range(400):
        if not loaded.batch.busy:
            return failed
        loaded.batch.step()
        failed += loaded.batch.take_failed()
    raise AssertionError("it does not end")


def alone(loaded, tokenizer, asked, number):
    row = put(loaded, tokenizer, asked, number)
    assert run(loaded) == []
    return row.made


def test_adapters_of_fused_experts_answer_beside_others(loaded, tokenizer, adapters):
    kinds = [None, *(adapters[name] for name in ("plain", "fused", "other", "fused again"))]
    expected = [alone(loaded, tokenizer, asked, number) for number, asked in enumerate(kinds)]
    assert len({tuple(made) for made in expected}) == len(kinds)
    rows = [
        put(loaded, tokenizer, asked, number)
        for _ in range(3)
        for number, asked in enumerate(kinds)
    ]
    assert run(loaded) == []
    assert [row.made for row in rows] == expected * 3


def test_an_adapter_of_fused_experts_comes_while_others_answer(loaded, tokenizer, adapters):
    plain = [alone(loaded, tokenizer, adapters[name], 0) for name in ("plain", "other")]
    rows = [put(loaded, tokenizer, adapters[name], 0) for name in ("plain", "other")]
    loaded.batch.step()
    loaded.batch.step()
    fused = put(loaded, tokenizer, adapters["fused"], 0)
    assert run(loaded) == []
    assert [row.made for row in rows] == plain
    assert fused.made == alone(loaded, tokenizer, adapters["fused"], 0)


def test_other_fused_parameters_wait_until_the_first_are_idle(loaded, tokenizer, adapters):
    row = put(loaded, tokenizer, adapters["fused"], 0)
    with pytest.raises(BackendError, match="other parameters of the experts"):
        loaded.attach(adapters["half"])
    assert run(loaded) == []
    assert len(row.made) == 8
    assert alone(loaded, tokenizer, adapters["half"], 0) != row.made


@pytest.mark.parametrize("before", [[], ["plain"]])
def test_an_adapter_that_fails_halfway_leaves_no_trace(
    loaded, tokenizer, adapters, before, tmp_path
):
    base = alone(loaded, tokenizer, None, 0)
    expected = [alone(loaded, tokenizer, adapters[name], 0) for name in before]
    broken = tmp_path / "broken" / "model"
    shutil.copytree(adapters["fused"].folder, broken)
    config = broken / "adapter_config.json"
    # peft refuses this only when it has come to the experts.
    config.write_text(config.read_text().replace('"lora_dropout": 0.0', '"lora_dropout": 0.1'))
    with pytest.raises(BackendError, match="cannot be loaded"):
        loaded.attach(trained("broken", broken))
    assert alone(loaded, tokenizer, None, 0) == base
    assert [alone(loaded, tokenizer, adapters[name], 0) for name in before] == expected
    assert alone(loaded, tokenizer, adapters["fused"], 0) not in [base, *expected]


def test_an_answer_that_breaks_ends_alone(loaded, tokenizer, adapters):
    expected = [alone(loaded, tokenizer, asked, 0) for asked in (None, adapters["plain"])]
    rows = [put(loaded, tokenizer, asked, 0) for asked in (None, adapters["plain"])]
    put(loaded, tokenizer, None, 7, reader=Failing)
    [(number, error)] = run(loaded)
    assert (number, type(error)) == (7, ZeroDivisionError)
    assert [row.made for row in rows] == expected


def test_a_step_that_breaks_ends_only_the_answer_that_broke_it(loaded, tokenizer):
    expected = [alone(loaded, tokenizer, None, number) for number in (0, 1)]
    rows = [put(loaded, tokenizer, None, number) for number in (0, 1)]
    bad = put(loaded, tokenizer, None, 9)

    def breaking(*_):
        if bad in loaded.batch.running and len(bad.made) == 3:
            raise RuntimeError("sizes do not match")

    loaded.batch.model.register_forward_pre_hook(breaking)
    [(number, error)] = run(loaded)
    assert (number, str(error)) == (9, "sizes do not match")
    assert [row.made for row in rows] == expected
