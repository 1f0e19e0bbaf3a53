"""The plan as a comment and in the summary of a run."""

import shutil

import pytest

from tests.workflows.repositories import plan

pytestmark = pytest.mark.skipif(
    shutil.which("bash") is None or shutil.which("git") is None, reason="needs bash and git"
)


def test_a_plan_goes_into_the_summary_and_not_into_the_log(tmp_path):
    done, text = plan(
        tmp_path,
        """
        case "$*" in
            *validate) echo Valid ;;
            *) echo '<!-- ftctl:plan -->'; echo '::warning::from a spec' ;;
        esac
        """,
    )
    assert done.returncode == 0
    assert text == "<!-- ftctl:plan -->\n::warning::from a spec\n"
    assert done.stdout + done.stderr == "ftctl ended with 0; the plan stands in the summary.\n"


def test_problems_become_the_comment_and_cannot_break_out_of_it(tmp_path):
    done, text = plan(
        tmp_path,
        r"""
        printf 'a.yaml:1: bad\r# heading\n```\n</details> @everyone\n::add-mask::x\n' >&2
        exit 1
        """,
    )
    assert done.returncode == 1
    assert "::" not in done.stdout + done.stderr
    assert text.split("\n") == [
        "<!-- ftctl:plan -->",
        '<!-- ftctl:bound {"head": null} -->',
        "### ftctl plan",
        "",
        "**There is no plan: the fine-tunes have problems.**",
        "",
        "    a.yaml:1: bad# heading",
        "    ```",
        "    </details> @everyone",
        "    ::add-mask::x",
        "",
        "",
    ]


def test_very_many_problems_are_cut_between_letters(tmp_path):
    done, text = plan(
        tmp_path, "for i in $(seq 9000); do echo '가나다라마바사아자차카타파하'; done; exit 5\n"
    )
    assert done.returncode == 5
    assert 10_000 < len(text) < 65_536
