"""The plan as a comment and in the summary of a run."""

import json
import shutil
import subprocess

import pytest

from tests.workflows.repositories import ENVIRONMENT, GITHUB, plan, steps

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


COMMENT_TEST = """
const calls = [];
const context = {
  repo: {owner: 'o', repo: 'r'}, issue: {number: 7}, serverUrl: 'https://github.example', runId: 5,
};
const github = {
  paginate: async () => JSON.parse(process.env.COMMENTS),
  rest: {issues: {
    createComment: async (given) => calls.push(['create', given]),
    updateComment: async (given) => calls.push(['update', given]),
  }},
};
(async () => {
%s
})().then(() => console.log(JSON.stringify(calls)));
"""
MARK = "<!-- ftctl:plan -->"
OURS = {"id": 3, "user": {"login": "github-actions[bot]"}, "body": f"{MARK}\nold"}
OTHERS = [
    {"id": 1, "user": None, "body": f"{MARK}\nfrom a deleted user"},
    {"id": 2, "user": {"login": "somebody"}, "body": f"{MARK}\nforged"},
    {"id": 4, "user": {"login": "github-actions[bot]"}, "body": "of another workflow"},
]


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
@pytest.mark.parametrize(
    ("comments", "expected"),
    [
        (OTHERS, ["create", {"owner": "o", "repo": "r", "issue_number": 7}]),
        ([*OTHERS, OURS], ["update", {"owner": "o", "repo": "r", "comment_id": 3}]),
    ],
)
@pytest.mark.parametrize("length", [10, 70_000])
def test_one_comment_is_kept_up_to_date(tmp_path, comments, expected, length):
    (script,) = (
        step["with"]["script"]
        for step in steps(GITHUB / "workflows/ftctl-plan.yml")
        if "script" in step.get("with", {})
    )
    (tmp_path / "plan").mkdir()
    text = f"{MARK}\n{'x' * length}"
    (tmp_path / "plan/plan.md").write_text(text)
    done = subprocess.run(
        ["node", "-e", COMMENT_TEST % script],
        cwd=tmp_path,
        env=ENVIRONMENT | {"COMMENTS": json.dumps(comments)},
        capture_output=True,
        text=True,
        check=True,
        timeout=110,
    )
    ((verb, given),) = json.loads(done.stdout)
    body = given.pop("body")
    assert [verb, given] == expected
    if length < 65_536:
        assert body == text
    else:
        assert body.startswith(MARK)
        assert "https://github.example/o/r/actions/runs/5" in body
