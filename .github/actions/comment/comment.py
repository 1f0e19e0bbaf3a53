"""Write the plan of a finished run as one comment of its pull request.

Started by `workflow_run`, so with the rights of the default branch, after a run that a stranger's pull
request may have started; or in a run that somebody with write access asked for, which names PULL and HEAD. What that run left is read as data: a text of limited size, for the pull
request that GitHub itself names. A fork that changes `.github/` may have made that text by itself: then
a sentence stands in its place.

    TOKEN               reads artifacts and pull requests, writes comments
    GITHUB_EVENT_PATH   the event
    PULL, HEAD          the pull request and its planned commit, in the run that made the plan itself
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from api import ApiError, GitHub, Json, event, fail
from bound import bind, is_newer

ARTIFACT = "ftctl-plan"
MARK = "<!-- ftctl:plan"
NOTHING = "<!-- ftctl:nothing -->"
"""Part of a plan that is worth no comment, unless an older one must be replaced."""
LIMIT_BYTES = 5 << 20
LONGEST = 65_536
"""Characters of a comment."""
ROOM = 200
"""Characters for what binds the comment to its run."""
OURS = "github-actions[bot]"
MOST_FILES = 3000
"""GitHub lists no more files of a pull request."""


def pull_request(github: GitHub, run: Json) -> Json:
    """Return the open pull request whose newest commit a run was about; None without one.

    GitHub tells it for branches of the repository. For a fork, it is found by the fork's branch.
    """
    owner = (run["head_repository"] or {}).get("owner", {}).get("login", "")
    head = f"{owner}:{run['head_branch']}"
    for pull in github.pages("/pulls", state="open", head=head):
        if pull["head"]["sha"] == run["head_sha"]:
            return pull
    return None


def is_from_fork(pull: Json) -> bool:
    """Return whether the branch belongs to another repository, or to one that is gone."""
    repository = pull["head"]["repo"]
    return repository is None or repository["full_name"] != pull["base"]["repo"]["full_name"]


def changes_workflows(github: GitHub, pull: Json) -> bool:
    """Return whether a pull request changes a workflow, or so many files that nobody can tell."""
    if pull.get("changed_files", 0) >= MOST_FILES:
        return True
    names = [
        name
        for file in github.pages(f"/pulls/{pull['number']}/files")
        for name in (file["filename"], file.get("previous_filename", ""))
    ]
    return any(name.startswith(".github/") for name in names)


def comment_text(github: GitHub, run: Json, pull: Json, artifact: str) -> str | None:
    """Return the text of the comment; None if the run left no plan."""
    summary = f"[the run]({run['html_url']})"
    is_stranger = run["event"] == "pull_request" and is_from_fork(pull)
    if is_stranger and changes_workflows(github, pull):
        return (
            f"{MARK} -->\n### ftctl plan\n\nThis pull request comes from a fork and changes `.github/`, "
            f"so its plan is not shown here. A maintainer finds it in the summary of {summary}.\n"
        )
    plan = github.artifact(run["id"], artifact, LIMIT_BYTES).get("plan.md")
    if plan is None:
        return None
    text = plan.decode("utf-8", "replace")
    if not text.startswith(MARK):
        fail(f"the plan does not start with {MARK}")
    if utf16_length(text) > LONGEST - ROOM:
        text = (
            f"{MARK} -->\n### ftctl plan\n\nToo long for a comment: see the summary of {summary}.\n"
        )
    return text


def utf16_length(text: str) -> int:
    """Return the number of characters as GitHub counts them."""
    return len(text.encode("utf-16-le")) // 2


def write(github: GitHub, number: int, text: str) -> str:
    """Replace our comment of a pull request, or add one; return what was done."""
    comments = github.pages(f"/issues/{number}/comments")
    # Only our own: anybody can write the mark into a comment.
    mine = [
        one
        for one in comments
        if (one["user"] or {}).get("login") == OURS and (one["body"] or "").startswith(MARK)
    ]
    # In its second line only: what a spec quotes is further below.
    if not mine and text.startswith(f"{MARK} -->\n{NOTHING}"):
        return "Nothing concerns fine-tunes."
    if not mine:
        github.send("POST", f"/issues/{number}/comments", {"body": text})
        return "Commented."
    if mine[0]["body"] == text:
        return "The comment is the same."
    if is_newer(mine[0]["body"], text):
        return "A newer run has commented on the same commit."
    github.send("PATCH", f"/issues/comments/{mine[0]['id']}", {"body": text})
    return "Replaced the comment."


def main() -> None:
    """Find the pull request, read the plan, and write the comment."""
    github = GitHub(os.environ["TOKEN"])
    number, head = os.environ.get("PULL", ""), os.environ.get("HEAD", "")
    if number:
        run = github.get(f"/actions/runs/{os.environ['GITHUB_RUN_ID']}")
        # One that planned without keys is a part of the run that the pull request started.
        artifact = ARTIFACT if run["event"] == "pull_request" else f"{ARTIFACT}-{head}"
    else:
        run, artifact = event()["workflow_run"], ARTIFACT
        if run["event"] != "pull_request":
            sys.stdout.write("That run was not about a pull request.\n")
            return
        head = run["head_sha"]
        listed = pull_request(github, run)
        if listed is None:
            sys.stdout.write(
                "The pull request is closed, or has a newer commit with a run of its own.\n"
            )
            return
        number = listed["number"]
    pull = github.get(f"/pulls/{number}")
    text = comment_text(github, run, pull, artifact)
    if text is None:
        sys.stdout.write("The run left no plan.\n")
        return
    try:
        text = bind(text, head, run["id"], run.get("run_attempt") or 1)
    except ValueError as error:
        fail(str(error))
    # It may have got another commit while its files were read.
    if github.get(f"/pulls/{number}")["head"]["sha"] != head:
        sys.stdout.write("The pull request has a newer commit.\n")
        return
    sys.stdout.write(f"{write(github, pull['number'], text)}\n")


if __name__ == "__main__":
    try:
        main()
    except ApiError as error:
        fail(f"GitHub gave no answer: {error}")
