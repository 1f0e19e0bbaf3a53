"""Metrics of other packages: found by entry point, checked, and named where they fail."""

import sys
from pathlib import Path

import pytest

from backends.contract.completions import Completion
from controller.evaluate.scoring import answered, chosen_metrics, scores_of, tally
from controller.spec.evaluation import Evaluation
from controller.spec.load import read_spec
from controller.spec.metric_plugins import BrokenPlugin, load_plugin, plugin_entries
from controller.spec.metrics import find_metric, metric_form, metric_names
from controller.spec.model import spec_schema

GOOD = '''\
from controller.evaluate.metric import Metric, MetricSettings


class Politeness(MetricSettings):
    """Share of answers that end politely."""

    ending: str = "요."
    """How they end."""


def ends(settings, examples):
    return [(float(one.given.text.endswith(settings.ending)), 1.0) for one in examples]


METRIC = Metric(name="politeness", settings=Politeness, tally=ends, higher_is_better=True)
'''
SPEC = """\
backend: local-gpu
base_model: acme/base
data: {train: [{path: faq.csv}], held_out: {fraction: 0.1}}
evaluation:
  metrics:
    - """


@pytest.fixture
def plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that installs a package with the metric `politeness`."""
    packages = tmp_path / "site-packages"
    info = packages / "polite-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: polite\nVersion: 1.2\n")
    caches = (plugin_entries, load_plugin, metric_form)

    def install(source: str, names=("politeness",)) -> None:
        lines = "".join(f"{name} = polite_metrics:METRIC\n" for name in names)
        (info / "entry_points.txt").write_text(f"[ftctl.metrics]\n{lines}")
        (packages / "polite_metrics.py").write_text(source, encoding="utf-8")
        monkeypatch.setattr(sys, "path", [str(packages), *sys.path])
        sys.modules.pop("polite_metrics", None)
        for cached in caches:
            cached.cache_clear()

    yield install
    sys.modules.pop("polite_metrics", None)
    for cached in caches:
        cached.cache_clear()


def problems_of(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "faq.yaml"
    path.write_text(SPEC + text + "\n", encoding="utf-8")
    _, problems = read_spec(tmp_path, path, file="faq.yaml")
    return [str(problem) for problem in problems]


def score(*written, answers=("네, 있어요.", "없다.")) -> dict[str, float]:
    metrics = Evaluation.model_validate({"metrics": list(written)}).metrics
    chosen = chosen_metrics(metrics, [])
    examples = [answered(None, Completion(text=one, finish_reason="stop")) for one in answers]
    return scores_of(chosen, tally(chosen, examples))


def test_a_metric_of_another_package_is_measured(tmp_path, plug_in):
    plug_in(GOOD)
    assert metric_names()[-1] == "politeness"
    assert problems_of(tmp_path, "politeness") == []
    assert score("politeness")["politeness"] == 0.5
    assert score({"politeness": {"ending": "다.", "name": "plain"}})["plain"] == 0.5


def test_the_package_is_imported_only_when_a_spec_names_the_metric(tmp_path, plug_in):
    plug_in(GOOD)
    assert problems_of(tmp_path, "exact_match") == []
    assert "polite_metrics" not in sys.modules
    assert problems_of(tmp_path, "politeness") == []
    assert "polite_metrics" in sys.modules


def test_the_version_of_the_package_is_an_input_of_the_evaluation(plug_in):
    plug_in(GOOD)
    (one,) = Evaluation.model_validate({"metrics": ["politeness"]}).metrics
    assert one.inputs == {"politeness": {}, "package": "polite 1.2"}


def test_the_schema_knows_installed_metrics(plug_in):
    plug_in(GOOD)
    names, *forms = spec_schema()["$defs"]["Evaluation"]["properties"]["metrics"]["items"]["oneOf"]
    assert names["enum"][-1] == "politeness"
    assert forms[-1]["properties"] == {"politeness": {"$ref": "#/$defs/Politeness"}}


def test_settings_of_another_package_are_checked_as_ours_are(tmp_path, plug_in):
    plug_in(GOOD)
    place = "faq.yaml:6: evaluation.metrics[0]"
    known = ", ".join(metric_names())
    for written, problem in (
        ("politenes", f": must be one of {known}, not the text 'politenes'"),
        ("politeness: {ending: 3}", ".politeness.ending: must be text, not 3"),
        ("politeness: {endings: x}", ".politeness.endings: is not a known key"),
    ):
        (found,) = problems_of(tmp_path, written)
        assert found.partition("\n")[0] == f"{place}{problem}"
    assert found.endswith("Did you mean `ending`?")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import no_such_package", "cannot be loaded: ModuleNotFoundError: No module named"),
        ("METRIC = (", "cannot be loaded: SyntaxError: "),
        ("OTHER = 1", "cannot be loaded: AttributeError: "),
        ("1 / 0", "cannot be loaded: ZeroDivisionError: "),
        ("METRIC = 3", "cannot be used: polite_metrics:METRIC is int, not a controller.evaluate"),
        (GOOD.replace('"politeness"', '"other"'), "cannot be used: polite_metrics:METRIC is called other"),
        (GOOD.replace('"""Share of answers that end politely."""', ""), "cannot be used: polite_metrics:METRIC has no text"),
        (GOOD.replace("settings=Politeness", "settings=dict"), "cannot be used: polite_metrics:METRIC has settings that are not"),
    ],
)  # fmt: skip
def test_a_package_that_cannot_be_used_is_named(tmp_path, plug_in, source: str, message: str):
    plug_in(source)
    (problem,) = problems_of(tmp_path, "politeness")
    assert problem.startswith(f"faq.yaml:6: evaluation.metrics[0]: politeness {message}")
    assert problem.endswith("    Correct the package polite 1.2, or remove the metric.")
    assert problems_of(tmp_path, "exact_match") == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return [][0]", "failed to score answers: IndexError: list index out of range"),
        ("return []", "failed to score answers: ValueError: 0 tallies for 2 examples"),
        (
            "return [(1.0, 1.0), (1.0,)]",
            "failed to score answers: ValueError: tallies of different",
        ),
        ("return [(float('nan'), 1.0)] * 2", "failed to score answers: ValueError: a tally is not"),
        ("return ['네'] * 2", "failed to score answers: TypeError: "),
    ],
)
def test_faults_while_scoring_name_the_metric(plug_in, body: str, message: str):
    plug_in(
        GOOD.replace(
            "def ends(settings, examples):\n", f"def ends(settings, examples):\n    {body}\n"
        )
    )
    with pytest.raises(BrokenPlugin) as caught:
        score("politeness")
    assert caught.value.message.startswith(f"politeness {message}")
    assert caught.value.remedy == "Correct the package polite 1.2, or remove the metric."


def test_faults_while_combining_name_the_metric(plug_in):
    plug_in(GOOD.replace("tally=ends", "tally=ends, combine=lambda sums: sums[9]"))
    with pytest.raises(BrokenPlugin, match="politeness failed to combine tallies: IndexError"):
        score("politeness")


def test_no_package_replaces_a_metric_of_ftctl(plug_in):
    plug_in(GOOD, names=("exact_match", "held_out_loss", "politeness"))
    assert [one for one in metric_names() if metric_names().count(one) > 1] == []
    assert "held_out_loss" not in metric_names()
    assert find_metric("exact_match").settings.__name__ == "ExactMatch"
