"""Write a plan as one comment of a pull request at Forgejo or Gitea, or replace the comment that is there.

    forgejo_comment.py FILE

Their API is that of GitHub in the calls that are used here, but for listings: all comments come at once.

    TOKEN        the job's own; in the run of a fork it may only read, and the plan stays in the log
    PULL, HEAD   the pull request, and the commit that was planned
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "actions"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "actions/comment"))

from api import ApiError, GitHub
from comment import LONGEST, MARK, ROOM, utf16_length

OURS = {"forgejo-actions", "gitea-actions"}
"""Who writes with a job's token: anybody can write the mark into a comment."""
_REFUSED = {401, 403}


def main(file: str) -> int:
    """Write the comment; return the exit code."""
    if not Path(file).exists():
        sys.stdout.write("There is no plan to show: the steps before this one say why.\n")
        return 0
    github, number = GitHub(os.environ["TOKEN"]), os.environ["PULL"]
    text = Path(file).read_text(encoding="utf-8")
    if utf16_length(text) > LONGEST - ROOM:
        text = f"{MARK} -->\n### ftctl plan\n\nToo long for a comment: see the log of the run.\n"
    pull = github.get(f"/pulls/{number}")
    if pull is None or pull["state"] != "open" or pull["head"]["sha"] != os.environ["HEAD"]:
        sys.stdout.write("The pull request is closed, or has a newer commit.\n")
        return 0
    mine = [
        one
        for one in github.get(f"/issues/{number}/comments") or []
        if (one["user"] or {}).get("login") in OURS and (one["body"] or "").startswith(MARK)
    ]
    try:
        if mine:
            github.send("PATCH", f"/issues/comments/{mine[0]['id']}", {"body": text})
        else:
            github.send("POST", f"/issues/{number}/comments", {"body": text})
    except ApiError as error:
        if error.status not in _REFUSED:
            raise
        sys.stdout.write("This run may not comment; its log has the plan.\n")
        for line in text.splitlines():
            sys.stdout.write(f"    {line}\n")
        return 0
    sys.stdout.write("Replaced the comment.\n" if mine else "Commented.\n")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1]))
    except ApiError as error:
        sys.exit(f"The server gave no answer: {error}. The plan is in {sys.argv[1]}.")
