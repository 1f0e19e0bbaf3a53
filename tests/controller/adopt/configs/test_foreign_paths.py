"""Paths that a configuration brings from another machine, and files that are here already."""

import json

import pytest

AXOLOTL = "base_model: acme/base\nmicro_batch_size: 1\ndatasets:\n  - path: ROWS\n    type: alpaca\n"
ROW = json.dumps({"instruction": "Open?", "input": "", "output": "From nine."}) + "\n"


@pytest.fixture
def adopt(shell, elsewhere, monkeypatch):
    """Return a function that adopts a configuration outside the repository."""
    monkeypatch.chdir(elsewhere)

    def run(text, *more):
        (elsewhere / "cafe.yaml").write_text(text)
        code, out = shell("adopt", "--from", "cafe.yaml", *more)
        return code, out.replace(str(elsewhere), "/elsewhere")

    return run


@pytest.mark.parametrize("digits", [309, 400, 4000])
@pytest.mark.parametrize(
    "key", ["seed", "num_epochs", "val_set_size", "learning_rate", "max_steps", "warmup_ratio"]
)
def test_a_number_that_no_machine_computes_with_is_refused_on_one_line(adopt, key, digits):
    code, out = adopt(AXOLOTL.replace("ROWS", "acme/rows") + f"{key}: {'9' * digits}\n")
    assert code == 1
    assert f"cafe.yaml:6: {key}: must be a number, not 9999" in out
    assert max(map(len, out.splitlines())) < 150
