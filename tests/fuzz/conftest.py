"""The fuzzers are modules of `tests.fuzz`, run by `python -m`; tests import them by that name."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))
