"""A real pretrained model learns to sort a bank's inquiries: what `make demo-real` runs.

Downloads SmolLM2-135M-Instruct (90 MB, once), trains it on 600 messages, measures it and its base
model on 120 others, and chats with both. Prints every command before it runs.

    python -m tests.demos.real FOLDER
"""

import shutil
import sys
import time
from pathlib import Path

from tests.demos.steps import ftctl
from tests.real_model.model import fetch_model
from tests.real_model.repository import NAME, write_repository

QUESTION = "A pickpocket in Prague has my bank card now, what shall I do?"


def main(root: Path) -> int:
    """Run the whole story; return the exit code of the first command that failed."""
    began = time.monotonic()
    fetch_model()
    if not (root / "finetunes" / f"{NAME}.yaml").exists():
        shutil.rmtree(root, ignore_errors=True)
        write_repository(root)
    code = (
        ftctl(root, "plan")
        or ftctl(root, "apply", "--auto-approve")
        or ftctl(root, "status")
        or ftctl(root, "chat", NAME, "--base", "-m", QUESTION)
    )
    print(f"\n{(time.monotonic() - began) / 60:.0f} minutes in all")
    return code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
