"""The fuzzers are modules of `tests.fuzz` for `python -m`; tests import them by the same name."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))
