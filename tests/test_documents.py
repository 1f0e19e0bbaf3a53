"""The README, CONTRIBUTING and the help topics say what is true: paths, commands, examples, links."""

import re
import shlex
import textwrap
import tomllib
from pathlib import Path

import click
import pytest
from rich.cells import cell_len

from backends.base import Backend
from backends.local_gpu import hyperparameters
from controller.cli import COMMANDS, cli
from controller.evaluate.gate import parse_condition
from controller.help import FOLDER, TOPICS, read_topic
from controller.spec.model import Spec, spec_model
from controller.spec.settings import Settings
from controller.spec.yaml import parse_yaml
from tests.topics import PARTS, current

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
CONTRIBUTING = ROOT / ".github/CONTRIBUTING.md"
DOCUMENTS = [README, CONTRIBUTING, *sorted(FOLDER.glob("*.md"))]
EVERY = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)

MINIMAL = {
    "backend": "local-gpu",
    "base_model": "acme/base",
    "data": {"train": [{"path": "rows.csv"}], "held_out": {"fraction": 0.1}},
}
WIDEST_CODE = 76
"""Columns of code in a topic: it is indented by four, and must fit into a terminal of eighty."""
LONGEST_SUMMARY = 61
"""Columns of a topic's line in the list of `ftctl help`."""


def blocks(path, *languages):
    """Return the code blocks of some languages."""
    found = re.findall(r"^```(\w+)\n(.*?)^```$", path.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return [text for language, text in found if language in languages]


def inline(path):
    """Return the texts between backticks, outside code blocks, on one line each."""
    prose = re.sub(r"^```.*?^```$", "", path.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    return [" ".join(text.split()) for text in re.findall(r"`([^`]+)`", prose)]


# ---- paths and names


def test_every_path_in_contributing_exists():
    tops = {path.name for path in ROOT.iterdir()} - {"build", "models", ".venv"}
    paths = {text for text in inline(CONTRIBUTING) if " " not in text and "/" in text}
    paths = {text for text in paths if text.split("/")[0] in tops}
    assert len(paths) > 30, "the test sees hardly any path"
    # `controller/cli/NAME.py` is a file to write; its folder is there.
    gone = [text for text in paths if not (ROOT / re.sub(r"NAME\.\w+$", "", text)).exists()]
    assert gone == []


def test_every_name_in_contributing_is_a_name_in_the_code():
    names = {text for text in inline(CONTRIBUTING) if re.fullmatch(r"[A-Za-z]\w*[A-Z_]\w*", text)}
    assert {"COMMANDS", "READERS", "MODULES", "json_option"} <= names
    code = "\n".join(
        path.read_text("utf-8")
        for folder in ("controller", "backends", "tests")
        for path in (ROOT / folder).rglob("*.py")
        if path != Path(__file__)
    )
    assert [name for name in names if not re.search(rf"\b{name}\b", code)] == []


def test_the_contract_has_the_methods_that_plug_ins_are_told_of():
    told = {
        text for text in inline(FOLDER / "plugins.md") if re.fullmatch(r"[a-z]+(_[a-z]+)*", text)
    }
    told -= {"state", "origin", "check_backend"}
    assert len(told) >= 4
    assert told - set(dir(Backend)) == set()


@EVERY
def test_every_link_leads_somewhere(path):
    text = path.read_text("utf-8")
    for target in re.findall(r"\]\((?!https?:)([^()\s]+)\)", text):
        assert (path.parent / target).exists(), target


# ---- commands


def commands(path):
    """Return the lines that a document tells people to type, and the texts between backticks."""
    lines = "\n".join(blocks(path, "console")).splitlines()
    return [*(line[2:] for line in lines if line.startswith(("$ ", "> "))), *inline(path)]


def typed(path):
    """Yield the words of every ftctl command that a document shows, without `ftctl` itself."""
    for line in commands(path):
        for part in re.split(r"&&|\|", line):
            words = shlex.split(part, comments=True) if part.count("'") % 2 == 0 else []
            if words and words[0].rpartition("/")[2] == "ftctl":
                yield words[1:]


def unknown(words):
    """Return the first word of a command line that ftctl does not know; None if it knows all."""
    command = cli
    for before, word in zip(["", *words], words, strict=False):
        if word.startswith("-"):
            known = {option for one in command.params for option in one.opts} | {"-h", "--help"}
            if word not in known:
                return word
        elif isinstance(command, click.Group) and before != "--dir":
            command = command.get_command(click.Context(command), word)
            if command is None:
                return word
        elif before == "help" and word not in {*TOPICS, *COMMANDS, "TOPIC", "COMMAND"}:
            return word
    return None


@EVERY
def test_every_command_and_option_exists(path):
    assert [words for words in typed(path) if unknown(words) is not None] == []


def test_a_command_that_does_not_exist_is_found():
    assert unknown(["--dir", "build/demo", "plan", "--offline"]) is None
    assert unknown(["data", "explain", "cafe", "a.csv:17"]) is None
    assert unknown(["annex", "cafe"]) == "annex"
    assert unknown(["plan", "--online"]) == "--online"
    assert unknown(["data", "show", "cafe"]) == "show"
    assert unknown(["help", "gate"]) == "gate"
    assert ["help", "start"] in list(typed(README))


@EVERY
def test_every_make_target_exists(path):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in commands(path):
        if line.startswith("make "):
            asked = line.partition("#")[0].split()[1:]
            assert {word for word in asked if "=" not in word} <= targets


def test_the_readme_names_every_command():
    named = " ".join(inline(README))
    assert [name for name in COMMANDS if not re.search(rf"\b{name}\b", named)] == []


# ---- examples


def merged(one, other):
    """Return a mapping with the values of another one on top, key by key."""
    both = {**one, **other}
    for key in one.keys() & other.keys():
        if isinstance(one[key], dict) and isinstance(other[key], dict):
            both[key] = merged(one[key], other[key])
    return both


@EVERY
def test_every_example_is_valid(path):
    for text in blocks(path, "yaml"):
        document, problems = parse_yaml(text.encode(), path.name)
        assert problems == []
        if document.value.keys() <= Settings.model_fields.keys():
            Settings.model_validate(document.value)
            continue
        value = merged(MINIMAL, document.value)
        spec = spec_model(value).model_validate(value)
        if spec.trains:
            hyperparameters.parse(spec.method, spec.hyperparameters)
        for condition in spec.gate:
            parse_condition(condition)
    for text in blocks(path, "toml"):
        tomllib.loads(text)
    for text in blocks(path, "python"):
        # Examples only import and define: what they import must be there.
        exec(compile(text, path.name, "exec"), {})


# ---- the README


def test_the_readme_is_short_and_in_the_order_that_a_newcomer_needs():
    text = README.read_text("utf-8")
    assert len(text.splitlines()) <= 220
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == [
        "Install",
        "Quick start",
        "Your first spec",
        "Pull requests",
        "Data",
        "Backends",
        "Leave a hosted service",
        "Serve",
        "Commands",
        "Six promises",
        "The house",
    ]
    assert "2027-01-06" in text
    assert "2027-01-14" in text


# ---- the topics


def test_the_topics_are_the_files_of_the_folder():
    assert sorted(TOPICS) == sorted(path.stem for path in FOLDER.glob("*.md"))


@pytest.mark.parametrize("name", TOPICS)
def test_a_topic_has_a_title_a_line_for_the_list_and_code_that_fits(name):
    topic = read_topic(name)
    title, summary, *_ = topic.text.split("\n\n")
    assert title.replace("-", " ").casefold() == f"# {name.replace('-', ' ')}" or name == "plugins"
    assert "\n" not in summary
    assert len(summary.replace("`", "")) <= LONGEST_SUMMARY
    assert "<!--" not in topic.text
    assert "](" not in topic.text.replace("](https://", "")
    wide = [
        line
        for text in blocks(FOLDER / f"{name}.md", "console", "yaml", "python", "toml")
        for line in text.splitlines()
        if cell_len(line) > WIDEST_CODE
    ]
    assert wide == []


@pytest.mark.parametrize("name", PARTS)
def test_a_reference_is_what_the_code_says(name):
    written = (FOLDER / f"{name}.md").read_text("utf-8")
    assert written == current(name), "Type `make topics`."


def test_a_reference_has_types_limits_defaults_and_texts():
    text = read_topic("spec").text
    for line in (
        "- `backend` (text; required): Backend that trains it: `openai`, `local-gpu`, or an installed",
        "- `seed` (whole number from 0 to 4,294,967,295; default `42`):",
        "- `fraction` (number more than 0 and less than 1; required):",
        "- `compare_to` (list of `base`, `production`, `base_few_shot` or mapping; default `[base]`):",
        "- `lifecycle` (mapping): Lifecycle of the fine-tune as a whole.",
        "### `data.train[].columns`",
    ):
        assert line in text


@pytest.mark.parametrize(("name", "model"), [("spec", Spec), ("settings", Settings)])
def test_a_reference_has_every_key(name, model):
    schema = model.model_json_schema()
    definitions = [schema, *schema["$defs"].values()]
    keys = {key for one in definitions for key in one.get("properties", {})}
    # A metric is a form of its own: `{accuracy: …}`.
    listed = re.findall(r"`\{?(\w+)(?:: …\})?`", read_topic(name).text)
    assert keys - set(listed) == set()


def test_exit_codes_are_those_of_the_program():
    listed = re.findall(r"^- `(\d+)`: ", read_topic("exit-codes").text, re.MULTILINE)
    assert listed == ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "64", "130"]


def test_prose_is_wrapped():
    """A line of a topic fits a terminal of a hundred columns when it is read unrendered."""
    for name in TOPICS:
        for line in read_topic(name).text.splitlines():
            assert len(line) <= 100, textwrap.shorten(line, 80)
