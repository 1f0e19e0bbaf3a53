"""Remove the records of pull requests that nobody needs any more.

Needed are those of open pull requests, and of merged ones until the lockfile has their builds. A pull
request that was closed without a merge is done with.

    FOLDER   the folder with finetunes/, from here
    TOKEN    reads pull requests, and removes the references
"""

import base64
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from api import ApiError, GitHub, Json, fail

PREFIX = "refs/ftctl/pr-"
KEPT = timedelta(days=30)
"""An apply looks for what was merged lately, and no longer."""


def is_needed(pull: Json, number: int, taken_over: "set[int]") -> bool:
    """Return True if a later run may want what was trained for a pull request.

    Args:
        pull: The pull request; None if there is none of that number.
        number: Its number.
        taken_over: Pull requests whose builds the lockfile has.
    """
    if pull is None:
        return False
    if pull["state"] == "open":
        return True
    if pull["merged_at"] is None or number in taken_over:
        return False
    return datetime.now(UTC) - datetime.fromisoformat(pull["merged_at"]) < KEPT


def git(*arguments: str, token: str = "") -> str:
    """Run git in the checkout, with a token for the server; return its output."""
    environment = dict(os.environ)
    if token:
        scheme = base64.b64encode(f"x-access-token:{token}".encode()).decode()
        environment |= {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"http.{os.environ['GITHUB_SERVER_URL']}/.extraheader",
            "GIT_CONFIG_VALUE_0": f"AUTHORIZATION: basic {scheme}",
            "GIT_TERMINAL_PROMPT": "0",
        }
    command = ["git", "-C", os.environ.get("FOLDER", "."), *arguments]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True
    ).stdout


def main() -> None:
    """Look at each reference, and remove what is not needed."""
    token = os.environ["TOKEN"]
    listed = [
        line.split() for line in git("ls-remote", "origin", f"{PREFIX}*", token=token).splitlines()
    ]
    numbers = [int(ref.removeprefix(PREFIX)) for _, ref in listed if ref[len(PREFIX) :].isdecimal()]
    if not numbers:
        sys.stdout.write("Nothing was trained for a pull request.\n")
        return
    command = ["ftctl", "--dir", os.environ.get("FOLDER", "."), "lockfile", "taken-over"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    taken_over, github = {int(one) for one in said.split()}, GitHub(token)
    gone = [
        number
        for number in numbers
        if not is_needed(github.get(f"/pulls/{number}"), number, taken_over)
    ]
    for number in gone:
        git("push", "--quiet", "origin", f":{PREFIX}{number}", token=token)
    sys.stdout.write(f"Removed: {', '.join(map(str, gone)) or 'none'} of {len(numbers)}.\n")


if __name__ == "__main__":
    try:
        main()
    except (ApiError, subprocess.CalledProcessError) as error:
        fail(f"Records of pull requests could not be removed: {error}")
