"""Names that an alias cannot take, in the rule, in `plan` and in `validate`; what it never changes."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.cli import run
from controller.lockfile.model import Build, DataFacts, Entry, Lockfile, PartFacts
from controller.render.plan import plan_text
from controller.render.plan_json import plan_json
from controller.resolve.aliases import find_clashes

OLD = "ft:gpt-4o-mini-2024-07-18:acme:triage:AbC"
PART = PartFacts(digest="sha256:0", examples=10)


def recorded(**models) -> Lockfile:
    """Return a lockfile in which each fine-tune has a build; a leading `!` protects it."""
    finetunes = {}
    for number, (name, model) in enumerate(models.items()):
        key = f"ft1:{number:064d}"
        build = Build(
            fingerprint=key,
            attempt=1,
            backend="openai",
            job="job-1",
            model_id=model.removeprefix("!"),
            inputs={},
            base_model="gpt-4o-mini-2024-07-18",
            data=DataFacts(train=PART, held_out=PART),
            facts={},
            submitted="2026-11-21T00:00:00Z",
            finished="2026-11-21T00:00:00Z",
        )
        protect = model.startswith("!")
        finetunes[name] = Entry(production=key, protect=protect, builds={key: build})
    return Lockfile(finetunes=finetunes)


@pytest.mark.parametrize(
    ("aliases", "lockfile", "bases", "expected"),
    [
        ({"triage": [OLD]}, Lockfile(), [], {}),
        ({"triage": [OLD], "faq": ["faq-v1"]}, Lockfile(), ["small-ko"], {}),
        # Its own hosted build, adopted before: the case that aliases are for.
        ({"triage": [OLD]}, recorded(triage=OLD), [], {}),
        ({"triage": [OLD]}, recorded(faq=OLD), [], {"triage": "is the model ID of a build of faq"}),
        # Renamed: the former name has no spec any more, and is forgotten by the same plan.
        ({"triage": ["former", OLD]}, recorded(former=OLD), [], {}),
        (
            {"triage": ["former"]},
            recorded(former=f"!{OLD}"),
            [],
            {"triage": "is the name of the fine-tune former"},
        ),
        (
            {"triage": [OLD]},
            recorded(former=f"!{OLD}"),
            [],
            {"triage": "is the model ID of a build of former"},
        ),
        ({"triage": ["faq"]}, Lockfile(), [], {"triage": "is the name of the fine-tune faq"}),
        ({"triage": ["triage"]}, Lockfile(), [], {"triage": "is the name of this fine-tune"}),
        ({"triage": ["org/m"]}, Lockfile(), ["org/m"], {"triage": "is a base model of `serve."}),
        (
            {"triage": [OLD], "faq": [OLD]},
            Lockfile(),
            [],
            {"triage": "is also an alias of faq", "faq": "is also an alias of triage"},
        ),
    ],
)
def test_what_a_name_stands_for_already(aliases, lockfile, bases, expected):
    clashes = find_clashes(aliases, {"triage", "faq"}, lockfile, bases)
    assert clashes.keys() == expected.keys()
    for name, start in expected.items():
        [clash] = clashes[name].values()
        assert clash.message.startswith(start)
        assert clash.remedy.endswith(".")


NAMES = st.sampled_from(["a", "b", "c", "m", "n"])


@given(
    st.dictionaries(NAMES, st.lists(NAMES, unique=True, max_size=3), max_size=3),
    st.dictionaries(NAMES, NAMES, max_size=3),
    st.sets(NAMES, max_size=2),
)
def test_what_is_left_stands_for_one_fine_tune(aliases, models, bases):
    lockfile = recorded(**models)
    clashes = find_clashes(aliases, aliases.keys(), lockfile, bases)
    left = [
        (alias, name)
        for name, written in aliases.items()
        for alias in written
        if alias not in clashes.get(name, {})
    ]
    assert len({alias for alias, _ in left}) == len(left)
    for alias, name in left:
        assert alias not in {*aliases, *bases}
        assert models.get(alias) is None or alias not in aliases
        assert all(
            owner == name or model != alias for owner, model in models.items() if owner in aliases
        )


def test_a_clash_blocks_its_fine_tune_alone_and_has_its_line(repo, capsys):
    repo.declare("faq")
    repo.declare("triage", aliases=["faq"], seed=1)
    planned = repo.planned()
    kinds = {one.name: type(one).__name__ for one in planned.plan.actions}
    assert kinds == {"faq": "Train", "triage": "Blocked"}
    [problem] = planned.resolved.problems
    assert problem.field == "aliases[0]"
    assert problem.line is not None
    # The lockfile is read for a collision that it alone shows.
    assert run(["--dir", str(repo.root), "validate"]) == 1
    assert "aliases[0]: 'faq' is the name of the fine-tune faq" in capsys.readouterr().err


def test_other_problems_of_the_same_spec_are_shown_in_the_same_run(repo, capsys):
    repo.declare("faq")
    repo.declare("triage", aliases=["faq"], gate=["nonsense"])
    fields = {problem.field for problem in repo.planned().resolved.problems}
    assert fields == {"aliases[0]", "gate[0]"}
    assert run(["--dir", str(repo.root), "validate"]) == 1
    text = capsys.readouterr().err
    assert "aliases[0]" in text
    assert "gate[0]" in text


def test_aliases_change_no_plan_and_no_byte_of_the_lockfile(repo):
    repo.declare("faq")
    plain = repo.planned()
    repo.declare("faq", aliases=[OLD])
    named = repo.planned()
    assert named.plan.id == plain.plan.id
    assert named.desired["faq"].fingerprint == plain.desired["faq"].fingerprint
    repo.declare("faq")
    repo.settle()
    before = repo.lockfile_path.read_bytes()
    repo.declare("faq", aliases=[OLD])
    assert repo.actions() == []
    repo.settle()
    assert repo.lockfile_path.read_bytes() == before


def test_the_plan_shows_the_names_that_a_promotion_concerns(repo):
    repo.declare("faq", aliases=[OLD, "faq-v1"])
    planned = repo.planned()
    shown = plan_text(planned.plan, planned.desired)
    assert re.search(rf"^      aliases +?= {re.escape(OLD)}, faq-v1$", shown, re.MULTILINE)
    [action] = plan_json(planned.plan, planned.desired)["actions"]
    assert action["aliases"] == [OLD, "faq-v1"]
    repo.declare("faq")
    planned = repo.planned()
    assert "aliases" not in plan_text(planned.plan, planned.desired)
