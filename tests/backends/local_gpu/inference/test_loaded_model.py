"""Answers of many adapters on one model, some of which cannot be loaded or break a step."""

import random
import shutil
from importlib import import_module

import pytest

from backends.contract.errors import BackendError
from backends.local_gpu.templates.answers import AnswerReader
from backends.local_gpu.templates.call_forms import Form

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]
EXPERTS = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]


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
    """Write adapters of several kinds; return what the engine's child is told of each."""
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
        made[name] = {"id": name, "folder": str(folder), "adapter": True}
    return made


@pytest.fixture(scope="module")
def experts_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("experts")
    fresh_model().config.save_pretrained(folder)
    return folder


@pytest.fixture
def network(experts_folder):
    made = import_module("backends.local_gpu.inference.loaded_model")
    return made.Network(fresh_model(), import_module("torch").float32, experts_folder)


class Failing(AnswerReader):
    """A reader that breaks at the third piece."""

    pieces = 0

    def feed(self, piece):
        self.pieces += 1
        if self.pieces == 3:
            raise ZeroDivisionError
        return super().feed(piece)


def put(network, tokenizer, asked, number, reader=AnswerReader):
    """Ask a question of an adapter; None is the base model."""
    decode = import_module("backends.local_gpu.inference.continuous_batching")
    row = decode.Row(
        id=number,
        prompt=[5, 6, 7, 8 + number % 2],
        adapter=decode.BASE if asked is None else network.attach(asked),
        ends=frozenset(),
        text=decode.StreamingText(
            tokenizer=tokenizer,
            control=frozenset(),
            reader=reader(form=Form(), types={}, offered=False, opening=""),
            stop=(),
        ),
        max_tokens=8,
        temperature=0.0,
        chance=random.Random(0),
    )
    network.batch.waiting.append(row)
    return row


def run(network):
    failed = []
    for _ in range(400):
        if not network.batch.busy:
            return failed
        network.batch.turn()
        failed += network.batch.take_failed()
    raise AssertionError("it does not end")


def alone(network, tokenizer, asked, number):
    row = put(network, tokenizer, asked, number)
    assert run(network) == []
    return row.made


def test_adapters_of_fused_experts_answer_beside_others(network, tokenizer, adapters):
    kinds = [None, *(adapters[name] for name in ("plain", "fused", "other", "fused again"))]
    expected = [alone(network, tokenizer, asked, number) for number, asked in enumerate(kinds)]
    assert len({tuple(made) for made in expected}) == len(kinds)
    rows = [
        put(network, tokenizer, asked, number)
        for _ in range(3)
        for number, asked in enumerate(kinds)
    ]
    assert run(network) == []
    assert [row.made for row in rows] == expected * 3


def test_an_adapter_of_fused_experts_comes_while_others_answer(network, tokenizer, adapters):
    plain = [alone(network, tokenizer, adapters[name], 0) for name in ("plain", "other")]
    rows = [put(network, tokenizer, adapters[name], 0) for name in ("plain", "other")]
    network.batch.turn()
    network.batch.turn()
    fused = put(network, tokenizer, adapters["fused"], 0)
    assert run(network) == []
    assert [row.made for row in rows] == plain
    assert fused.made == alone(network, tokenizer, adapters["fused"], 0)


def test_other_fused_parameters_wait_until_the_first_are_idle(network, tokenizer, adapters):
    row = put(network, tokenizer, adapters["fused"], 0)
    with pytest.raises(BackendError, match="other parameters of the experts"):
        network.attach(adapters["half"])
    assert run(network) == []
    assert len(row.made) == 8
    assert alone(network, tokenizer, adapters["half"], 0) != row.made


@pytest.mark.parametrize("before", [[], ["plain"]])
def test_an_adapter_that_fails_halfway_leaves_no_trace(
    network, tokenizer, adapters, before, tmp_path
):
    base = alone(network, tokenizer, None, 0)
    expected = [alone(network, tokenizer, adapters[name], 0) for name in before]
    broken = tmp_path / "broken" / "model"
    shutil.copytree(adapters["fused"]["folder"], broken)
    config = broken / "adapter_config.json"
    # peft refuses this only when it has come to the experts.
    config.write_text(config.read_text().replace('"lora_dropout": 0.0', '"lora_dropout": 0.1'))
    with pytest.raises(BackendError, match="cannot be loaded"):
        network.attach({"id": "broken", "folder": str(broken), "adapter": True})
    assert alone(network, tokenizer, None, 0) == base
    assert [alone(network, tokenizer, adapters[name], 0) for name in before] == expected
    assert alone(network, tokenizer, adapters["fused"], 0) not in [base, *expected]


def test_an_answer_that_breaks_ends_alone(network, tokenizer, adapters):
    expected = [alone(network, tokenizer, asked, 0) for asked in (None, adapters["plain"])]
    rows = [put(network, tokenizer, asked, 0) for asked in (None, adapters["plain"])]
    put(network, tokenizer, None, 7, reader=Failing)
    [(number, error)] = run(network)
    assert (number, type(error)) == (7, ZeroDivisionError)
    assert [row.made for row in rows] == expected


def test_a_step_that_breaks_ends_only_the_answer_that_broke_it(network, tokenizer):
    expected = [alone(network, tokenizer, None, number) for number in (0, 1)]
    rows = [put(network, tokenizer, None, number) for number in (0, 1)]
    bad = put(network, tokenizer, None, 9)

    def breaking(*_):
        if bad in network.batch.rows and len(bad.made) == 3:
            raise RuntimeError("sizes do not match")

    network.batch.model.register_forward_pre_hook(breaking)
    [(number, error)] = run(network)
    assert (number, str(error)) == (9, "sizes do not match")
    assert [row.made for row in rows] == expected
