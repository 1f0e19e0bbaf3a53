"""Every field of a spec and of `ftctl.yaml` changes something that can be seen, or is refused.

The models are walked: a field without a case fails, and so does a case whose other value changes
nothing. A case must change what is built, trained, asked, charged, done or shown: the digests of
what a person decided prove nothing, as they hold every field.
"""

import re

import pytest

from controller.cli import run
from controller.spec.model import Spec
from tests.controller.every_field.fields import fields_of
from tests.controller.every_field.spec_cases import ELSEWHERE, SHOWN, SPEC, data


def test_every_field_of_a_spec_has_a_case():
    # Sources are held out as they are trained on, but for their weight. What is retained is read
    # and scored as every source and every metric.
    equal = {
        r"^data\.held_out\.(?!fraction|seed|group_by|stratify_by)": "data.train.",
        r"^evaluation\.retain\.columns\.": "data.train.columns.",
        r"^evaluation\.retain\.metric\.": "evaluation.metrics.",
        r"^evaluation\.metrics\.\w+\.name$": "evaluation.metrics.exact_match.name",
    }
    found = set(fields_of(Spec))
    for pattern, other in equal.items():
        found = {re.sub(pattern, other, one) for one in found}
    assert found == SPEC.keys() | SHOWN.keys() | ELSEWHERE


@pytest.mark.parametrize("path", SPEC)
def test_another_value_changes_something_or_is_refused(path, repo, observed):
    case = SPEC[path]
    if case.recorded:
        repo.declare(**{**data(), **case.before})
        repo.settle()
    before, after = observed(case, case.before), observed(case, case.after)
    assert before != after


@pytest.mark.parametrize("path", SHOWN)
@pytest.mark.usefixtures("observed")
def test_what_is_for_people_is_shown_to_people(path, repo, capsys):
    case = SHOWN[path]
    repo.declare(**{**data(), **case.before})
    repo.settle()

    def shown() -> str:
        texts = []
        for arguments in (["show", "faq"], ["status", "--label", "team=growth", "--json"]):
            assert run(["--dir", str(repo.root), *arguments]) == 0
            texts.append(capsys.readouterr().out)
        return "".join(texts)

    before = shown()
    repo.declare(**{**data(), **case.after})
    assert shown() != before
