"""For tests: a backend that trains nothing, and checks that backends and launchers keep the contract."""

from backends.testing.contract import ContractBroken, check_backend
from backends.testing.launchers import check_launcher
from backends.testing.scripted import ScriptedBackend, create
from backends.testing.scripts import (
    CURVE,
    FAILS,
    GOES_WELL,
    GONE_UNFINISHED,
    INTERRUPTED_ONCE,
    VANISHED,
    Answer,
    Crash,
    Moment,
    Script,
    answer_well,
    raise_crash,
)
from backends.testing.words import WordInspector

__all__ = [
    "CURVE",
    "FAILS",
    "GOES_WELL",
    "GONE_UNFINISHED",
    "INTERRUPTED_ONCE",
    "VANISHED",
    "Answer",
    "ContractBroken",
    "Crash",
    "Moment",
    "Script",
    "ScriptedBackend",
    "WordInspector",
    "answer_well",
    "check_backend",
    "check_launcher",
    "create",
    "raise_crash",
]
