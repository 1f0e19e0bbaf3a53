"""Wrong input through the real command line: what people read, as golden files."""

import pytest

LOCAL = {"backend": "local-gpu", "base": "../models/tiny"}
CHAT = '{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}\n'


def replaced(shell, old: str, new: str) -> None:
    path = shell.root / "finetunes" / "faq.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def source(shell, text: str) -> None:
    replaced(
        shell,
        "path: data/faq.csv\n      columns: {user: question, assistant: answer}",
        text,
    )


def unknown_key(shell):
    shell.declare(more="hyperparameter: {r: 8}\ncolour: red\n", **LOCAL)


def wrong_type(shell):
    shell.declare(more='seed: "42"\nlabels: {team: 3}\ngate: accuracy >= 1\n', **LOCAL)


def duplicate_key(shell):
    shell.declare(more="backend: openai\n", **LOCAL)


def yes_for_true(shell):
    shell.declare(more="lifecycle:\n  protect: yes\n", **LOCAL)


def empty_file(shell):
    shell.write("finetunes/faq.yaml", "")


def two_files(shell):
    shell.declare("a", "sed: 1\n", **LOCAL)
    shell.declare("b", "hyperparameters: {lr: 0.1, r: -1}\n", **LOCAL)
    shell.declare("c", "seed: no\n", **LOCAL)


def hyperparameters(shell):
    shell.declare(more="hyperparameters: {n_epochs: 0, learning_rate: 2, r: 1.5}\n", **LOCAL)


def tabs(shell):
    shell.declare(more="evaluation:\n\tmetrics: [accuracy]\n", **LOCAL)


def not_utf8(shell):
    shell.write("finetunes/faq.yaml", b"backend: local-gpu\ndescription: \xc4\xab\xc6\xe4\n")


def too_deep(shell):
    shell.write("finetunes/faq.yaml", "a: " + "[" * 100_000)


def missing_data(shell):
    shell.declare(**LOCAL)
    replaced(shell, "data/faq.csv", "data/fqa.csv")


def missing_column(shell):
    shell.declare(**LOCAL)
    replaced(shell, "user: question", "user: frage")


def invalid_json(shell):
    shell.declare(**LOCAL)
    shell.write("finetunes/data/chat.jsonl", CHAT * 11 + '{"messages": [\n' + CHAT)
    source(shell, "path: data/chat.jsonl")


def no_assistant(shell):
    shell.declare(**LOCAL)
    bad = '{"messages": [{"role": "user", "content": "q"}]}\n'
    shell.write("finetunes/data/chat.jsonl", CHAT * 3 + bad)
    source(shell, "path: data/chat.jsonl")


def too_few(shell):
    shell.declare(**LOCAL)
    shell.write("finetunes/data/faq.csv", "question,answer\nq1,a1\nq2,a2\n")


def outside(shell):
    shell.declare(**LOCAL)
    replaced(shell, "data/faq.csv", "../../secrets.csv")


def missing_base_folder(shell):
    shell.declare(backend="local-gpu", base="../models/none")


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Keep to this machine: without network, a plan would only say that it does not know."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def missing_base_hub(shell):
    shell.declare(backend="local-gpu", base="Qwen/Qwen3-0.6B")


def unknown_backend(shell):
    shell.declare("faq", backend="local_gpu")
    shell.declare("other", backend="sagemaker")


def unmeasured_gate(shell):
    more = "evaluation: {metrics: [accuracy], compare_to: []}\ngate:\n  - acuracy >= 0.8\n"
    more += "  - accuracy >= base.accuracy\n  - accuracy is good\n"
    shell.declare(more=more, **LOCAL)


def unretained(shell):
    more = "evaluation:\n  compare_to: [production]\n  retain:\n    - json\n    - jsn\n"
    more += "    - {name: language, path: data/old.jsonl, metric: exact_match}\n"
    shell.declare("a", more=more, **LOCAL)
    more = "evaluation: {compare_to: [production], retain: [json]}\ngate:\n"
    more += "  - retain.jason >= base.retain.json - 0.05\n  - retain.language >= 0.9\n"
    more += "  - retain.json >= production.retain.json\n"
    shell.declare("b", more=more, **LOCAL)


def unmeasured_texts(shell):
    more = "method: continued-pretraining\nevaluation:\n  metrics:\n    - accuracy\n"
    more += "    - regex_match: {pattern: x}\n"
    more += "gate:\n  - held_out_loss < base.held_out_loss\n  - stop_rate >= 0.9\n"
    more += "  - accuracy >= base.accuracy\n"
    shell.declare(more=more, **LOCAL)


def newer_lockfile(shell):
    shell.declare(**LOCAL)
    shell.write("finetunes/ftctl.lock", '{"format": 7, "finetunes": {}}\n')


def corrupt_lockfile(shell):
    shell.declare(**LOCAL)
    shell.write("finetunes/ftctl.lock", '{"format": 1,\n "finetunes": {"faq"\n')


def conflicted_lockfile(shell):
    shell.declare(**LOCAL)
    text = '{"format": 1,\n<<<<<<< HEAD\n"finetunes": {}\n=======\n}\n>>>>>>> main\n'
    shell.write("finetunes/ftctl.lock", text)


def no_repository(shell):
    (shell.root / "finetunes").rename(shell.root / "elsewhere")


CASES = [
    unknown_key,
    wrong_type,
    duplicate_key,
    yes_for_true,
    empty_file,
    two_files,
    hyperparameters,
    tabs,
    not_utf8,
    too_deep,
    missing_data,
    missing_column,
    invalid_json,
    no_assistant,
    too_few,
    outside,
    missing_base_folder,
    missing_base_hub,
    unknown_backend,
    unmeasured_gate,
    unretained,
    unmeasured_texts,
    newer_lockfile,
    corrupt_lockfile,
    conflicted_lockfile,
    no_repository,
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_the_message_is_the_golden_one(shell, golden, case):
    case(shell)
    lockfile = shell.root / "finetunes" / "ftctl.lock"
    before = lockfile.read_bytes() if lockfile.exists() else None
    code, text = shell("plan")
    assert code == 1
    assert "Traceback" not in text
    golden(f"errors/{case.__name__}.txt", text)
    assert shell("apply", "--auto-approve", "--no-wait")[0] == 1
    assert (lockfile.read_bytes() if lockfile.exists() else None) == before


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_the_same_as_json(shell, case):
    case(shell)
    code, value = shell.json("plan")
    assert code == 1
    assert value["error"]
    assert all(problem["message"] for problem in value["problems"])
