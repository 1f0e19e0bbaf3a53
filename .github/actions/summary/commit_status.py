"""Tell at the commit of the lockfile what it records: a commit that a job's token pushed has no checks.

FOLDER   the folder with finetunes/
SHA      the commit
TOKEN    writes the status
"""

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from api import ApiError, GitHub, Json, fail


def status_of(lockfile: Json) -> dict[str, str]:
    """Return state and description: pending while a job is open, failure after one that failed."""
    entries = lockfile["finetunes"].values()
    jobs = sum("job" in entry for entry in entries)
    live = sum("production" in entry for entry in entries)
    failed = sum("failures" in entry and "job" not in entry for entry in entries)
    parts = [f"{live} in production", f"{jobs} in training" if jobs else ""]
    parts.append(f"{failed} failed" if failed else "")
    state = "pending" if jobs else "failure" if failed and not live else "success"
    return {"state": state, "description": ", ".join(part for part in parts if part)}


def main() -> None:
    """Read the lockfile and write the status."""
    lockfile = Path(os.environ["FOLDER"]) / "finetunes/ftctl.lock"
    status = status_of(json.loads(lockfile.read_text(encoding="utf-8")))
    run = f"{os.environ['GITHUB_SERVER_URL']}/{os.environ['GITHUB_REPOSITORY']}"
    run += f"/actions/runs/{os.environ['GITHUB_RUN_ID']}"
    body = {**status, "context": "ftctl", "target_url": run}
    GitHub(os.environ["TOKEN"]).send("POST", f"/statuses/{os.environ['SHA']}", body)
    sys.stdout.write(f"{status['state']}: {status['description']}\n")


if __name__ == "__main__":
    try:
        main()
    except ApiError as error:
        fail(f"GitHub gave no answer: {error}")
