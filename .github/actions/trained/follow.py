"""Start the training of a pull request again, if a job of it is open although its run has ended.

That is so when the machine was lost, or the time was over. Nothing is started again once the label is
gone, or the pull request is closed or has another commit.

    PULL, HEAD   the pull request, and the commit that the label was set for
    DISPATCH     this workflow's reference
    TOKEN        reads the repository, and starts the workflow
"""

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "look"))

from api import ApiError, GitHub, fail
from look import OLDEST_FAILING_S, open_jobs

LABEL = "ftctl/train"
LIMIT = 64 << 20


def main() -> None:
    """Look at the records of the pull request, and start the workflow again if a job is open."""
    github, number, head = GitHub(os.environ["TOKEN"]), os.environ["PULL"], os.environ["HEAD"]
    pull = github.get(f"/pulls/{number}")
    labels = {label["name"] for label in pull["labels"]}
    if pull["state"] != "open" or pull["head"]["sha"] != head or LABEL not in labels:
        sys.stdout.write("Nobody asks for this training any more.\n")
        return
    ref = github.get(f"/git/ref/ftctl/pr-{number}")
    folder = os.environ.get("FOLDER", ".")
    prefix = "" if folder in {"", "."} else f"{Path(folder).as_posix()}/"
    text = ref and github.file(f"{prefix}finetunes/ftctl.lock", ref["object"]["sha"], LIMIT)
    count, _, age_s = open_jobs(json.loads(text), datetime.now(UTC)) if text else (0, False, 0.0)
    sys.stdout.write(f"{count} open.\n" if count else "Nothing is open.\n")
    if count and age_s > OLDEST_FAILING_S:
        sys.stdout.write("That is so for more than a day: set the label again, if you want more.\n")
    elif count:
        name = os.environ["DISPATCH"].partition("@")[0].rpartition("/")[2]
        body = {"ref": pull["base"]["ref"], "inputs": {"action": f"train {number} {head}"}}
        github.send("POST", f"/actions/workflows/{name}/dispatches", body)
        sys.stdout.write("The next run is on its way.\n")


if __name__ == "__main__":
    try:
        main()
    except ApiError as error:
        fail(f"GitHub gave no answer: {error}")
