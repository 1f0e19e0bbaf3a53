"""Aliases at the command line: looked up by the commands that read, listed, refused where taken."""

import pytest

OLD = "ft:gpt-4o-mini-2024-07-18:acme:triage:AbC"
MORE = f'aliases: ["{OLD}", "상담/v1"]\n'


@pytest.fixture
def named(shell, installed):
    """A fine-tune in production, with aliases."""
    del installed
    shell.declare(more=MORE)
    assert shell("apply", "--auto-approve")[0] == 0
    return shell


@pytest.mark.parametrize("command", [["chat", "-m", "hi"], ["show"], ["logs"], ["model"]])
def test_commands_that_read_take_an_alias(named, command):
    name, *options = command
    by_name = named(name, "faq", *options)
    assert by_name[0] == 0
    assert named(name, OLD, *options) == by_name
    assert named(name, "상담/v1", *options) == by_name


def test_commands_that_act_take_names_alone(named):
    for command in ("cancel", "retry"):
        code, text = named(command, OLD)
        assert code == 1
        assert f"nothing is recorded for {OLD!r}" in text


def test_status_and_show_list_aliases(named):
    code, text = named("status")
    assert code == 0
    table = text.partition("ALIAS")[2].split("\n\n")[0].splitlines()
    assert [line.split() for line in table] == [["FINE-TUNE"], [OLD, "faq"], ["상담/v1", "faq"]]
    assert named.json("status")[1]["finetunes"]["faq"]["aliases"] == [OLD, "상담/v1"]
    assert f"  aliases     {OLD}, 상담/v1\n" in named("show", "faq")[1]
    assert named.json("show", "faq")[1]["aliases"] == [OLD, "상담/v1"]
    named.declare()
    assert "ALIAS" not in named("status")[1]
    assert named.json("status")[1]["finetunes"]["faq"]["aliases"] == []


def test_status_lists_the_aliases_of_chosen_fine_tunes(named):
    named.declare("tea", more='labels: {team: care}\naliases: ["tea-v1"]\n')
    code, text = named("status", "--label", "team=care")
    assert code == 0
    assert "tea-v1" in text
    assert OLD not in text


def test_an_alias_in_two_specs_means_neither(named):
    named.declare("tea", more=MORE)
    code, text = named("chat", OLD, "-m", "hi")
    assert (code, text) == (1, f"{OLD!r} is an alias of faq and tea\n    Keep it in one spec.\n")
    code, text = named("validate")
    assert code == 1
    assert f"finetunes/tea.yaml:8: aliases[0]: {OLD!r} is also an alias of faq" in text
    assert "finetunes/faq.yaml:8: aliases[1]: '상담/v1' is also an alias of tea" in text
    code, text = named("plan")
    assert code == 1
    assert "is also an alias of" in text


def test_a_name_that_is_taken_is_refused_with_its_line(named):
    named.write("ftctl.yaml", "serve: {base_models: [acme/base]}\n")
    model_id = named("model", "faq")[1].strip()
    named.declare("tea", more=f'aliases: [faq, acme/base, "{model_id}"]\n')
    code, text = named("validate")
    assert code == 1
    assert text.count("finetunes/tea.yaml:8: aliases[") == 3
    assert "aliases[0]: 'faq' is the name of the fine-tune faq" in text
    assert "aliases[1]: 'acme/base' is a base model of `serve.base_models` in ftctl.yaml" in text
    assert f"aliases[2]: {model_id!r} is the model ID of a build of faq" in text
    assert "3 problems" in named("doctor")[1]


def test_a_new_alias_is_no_change(named):
    before = (named.root / "finetunes/ftctl.lock").read_bytes()
    named.declare(more='aliases: ["another"]\n')
    code, text = named("plan", "--detailed-exitcode")
    assert code == 0
    assert "No changes" in text
    assert (named.root / "finetunes/ftctl.lock").read_bytes() == before
