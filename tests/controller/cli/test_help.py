"""`ftctl help`, piped and in a pseudo terminal of several widths."""

import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from rich.cells import cell_len

from controller.cli import COMMANDS, run
from controller.help import TOPICS, read_topic
from tests.children import child

ROOT = Path(__file__).parents[3]
FTCTL = [sys.executable, "-m", "controller"]
ESCAPE = re.compile(r"\x1b\[[0-9;]*m")
LIMIT_S = 60.0


def in_terminal(columns, *words, **environment):
    """Return what a person sees in a terminal: exit code and text, with escapes."""
    given = {key: value for key, value in os.environ.items() if key not in {"COLUMNS", "NO_COLOR"}}
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = child(
        [*FTCTL, *words],
        cwd=ROOT,
        env=given | {"TERM": "xterm-256color"} | environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    seen = b""
    try:
        with process as started:
            os.close(theirs)
            while select.select([ours], [], [], LIMIT_S)[0]:
                try:
                    seen += os.read(ours, 65536)
                except OSError:  # the child ended: Linux reports that as an input/output error
                    break
            return started.wait(LIMIT_S), seen.decode().replace("\r\n", "\n")
    finally:
        os.close(ours)


def plain(capsys, *words):
    code = run([*words])
    seen = capsys.readouterr()
    return code, seen.out, seen.err


def test_the_list_of_topics(capsys, golden):
    code, out, err = plain(capsys, "help")
    assert (code, err) == (0, "")
    golden("help.txt", out)


def test_the_first_screen(capsys, golden):
    assert plain(capsys, "--help")[0] == 0
    golden("first-screen.txt", plain(capsys, "--help")[1])


@pytest.mark.parametrize("name", TOPICS)
def test_piped_a_topic_is_plain_markdown(capsys, name):
    code, out, err = plain(capsys, "help", name)
    assert (code, err) == (0, "")
    assert out.endswith(read_topic(name).text)
    assert "\x1b" not in out


@pytest.mark.parametrize("words", [["exit", "codes"], ["pull", "requests"]], ids=" ".join)
def test_a_topic_of_two_words_needs_no_hyphen(capsys, words):
    assert plain(capsys, "help", *words) == plain(capsys, "help", "-".join(words))


@pytest.mark.parametrize(
    "words",
    [[name] for name in COMMANDS if name not in TOPICS] + [["data", "build"], ["data", "explain"]],
    ids=" ".join,
)
def test_the_help_of_a_command_is_what_its_own_option_prints(capsys, words):
    assert plain(capsys, "help", *words) == plain(capsys, *words, "--help")


def test_a_word_that_is_both_shows_both(capsys):
    _, usage, _ = plain(capsys, "data", "--help")
    assert plain(capsys, "help", "data") == (0, f"{usage}\n{read_topic('data').text}", "")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["gate"], "'gate' is not a topic or a command. Did you mean `gates`?"),
        (["aply"], "'aply' is not a topic or a command. Did you mean `apply`?"),
        (["data", "stat"], "'data stat' is not a topic or a command."),
        (["plan", "now"], "'plan now' is not a topic or a command."),
        (["zzz"], "'zzz' is not a topic or a command. Type `ftctl help` for the list."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_unknown_word_is_wrong_usage(capsys, words, hint):
    code, out, err = plain(capsys, "help", *words)
    assert (code, out) == (64, "")
    assert f"Error: {hint}" in err


def test_as_json(capsys):
    topics = json.loads(plain(capsys, "help", "--json")[1])
    assert [topic["topic"] for topic in topics] == list(TOPICS)
    assert all(topic["summary"] for topic in topics)
    both = json.loads(plain(capsys, "--json", "help", "data")[1])
    assert both == {
        "name": "data",
        "usage": plain(capsys, "data", "--help")[1].rstrip("\n"),
        "text": read_topic("data").text,
    }


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_a_page_fits_its_terminal_and_loses_nothing(columns):
    code, seen = in_terminal(columns, "help", "data")
    assert code == 0
    page = ESCAPE.sub("", seen)
    assert "\x1b" not in page
    lines = page.partition("\nData")[2].splitlines()
    assert max(cell_len(line.rstrip()) for line in lines) <= min(columns, 100)
    # Every letter is there, in order, Korean too; only marks of Markdown are not.
    letters = re.sub(r"\W", "", page.partition("\nData")[2])
    assert letters == re.sub(r"\W", "", written_words("data"))


def written_words(name):
    """Return a topic's text without its title, the languages of its code and emphasis."""
    text = re.sub(r"^```\w*$", "", read_topic(name).text, flags=re.MULTILINE)
    return text.partition("\n")[2].replace("**", "")


def test_at_eighty_columns_code_keeps_its_lines():
    _, seen = in_terminal(80, "help", "data")
    lines = [line.rstrip() for line in ESCAPE.sub("", seen).splitlines()]
    assert '          where: ["점수 >= 4", "상태 in [승인, 수정]"]' in lines
    assert "    $ ftctl data explain cafe data/cafe.csv:17    # what became of this row" in lines


@pytest.mark.parametrize("how", ["variable", "option"])
def test_without_colours_a_page_has_no_escapes(how):
    if how == "variable":
        code, seen = in_terminal(80, "help", "gates", NO_COLOR="1")
    else:
        code, seen = in_terminal(80, "--no-color", "help", "gates")
    assert code == 0
    assert "\x1b" not in seen
    assert " • The gate passes: the build goes into production, in the same run." in seen


def test_in_colour_headings_and_code_stand_out():
    _, seen = in_terminal(80, "help", "gates")
    assert "\x1b[1;4mGates\x1b[0m" in seen
    assert "\x1b[36mgate: []\x1b[0m" in seen


def test_a_reader_that_goes_away_is_not_a_failure():
    """`ftctl help spec | head -1` ends without a message."""
    done = subprocess.run(
        ["sh", "-c", f"{' '.join(FTCTL)} help spec | head -1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=110,
    )
    assert (done.stdout, done.stderr) == ("# Spec\n", "")
