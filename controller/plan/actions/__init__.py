"""The actions that a plan is made of: one record for each kind, in a closed union. Pure.

A new kind is a file beside this one, its line in `Action`, a rule in `controller.plan.rules` and a
handler in `controller.apply.dispatch`. The type checker finds each line that is missing.
"""

from typing import TypeAlias, get_args

from controller.plan.actions.adopt import Adopt
from controller.plan.actions.base import BaseAction
from controller.plan.actions.deploy import Deploy
from controller.plan.actions.follow import Record, Resume, Wait
from controller.plan.actions.hold import Blocked, Deferred
from controller.plan.actions.hold import BlockReason as BlockReason
from controller.plan.actions.judge import Evaluate, Judge, Promote
from controller.plan.actions.prompt import Prompt
from controller.plan.actions.protect import Protect
from controller.plan.actions.restore import Restore
from controller.plan.actions.retire import Retire
from controller.plan.actions.reuse import Reuse
from controller.plan.actions.train import Train

Action: TypeAlias = (
    Train
    | Prompt
    | Adopt
    | Restore
    | Deploy
    | Evaluate
    | Promote
    | Reuse
    | Retire
    | Resume
    | Record
    | Judge
    | Protect
    | Wait
    | Deferred
    | Blocked
)
"""Every kind of action, in the order of a run's summary."""

TRAINING: tuple[type[BaseAction], ...] = (Train, Adopt, Resume, Record, Wait, Evaluate, Judge)
"""Kinds that lead to a measured build, and change nothing in production."""

KINDS: tuple[type[BaseAction], ...] = get_args(Action)
