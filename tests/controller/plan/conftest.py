"""States of one fine-tune, for rules."""

import pytest

from controller.lockfile.model import Entry
from controller.plan.observed import Observed
from controller.plan.overview import Overview
from controller.plan.state import State


@pytest.fixture
def state(make):
    """Make the state of `faq`: its spec is `desired`, or absent for None."""

    def made(desired=..., entry=None, *, jobs=(), found=(), specs=(), others=None, **answers):
        specs = [*specs, make.desired() if desired is ... else desired]
        by_fingerprint = {}
        for job in found:
            by_fingerprint.setdefault(job.fingerprint, []).append(job)
        unresolved = answers.pop("unresolved", {})
        entries = dict(others or {}) | ({} if entry is None else {"faq": entry})
        overview = Overview(
            desired={one.name: one for one in specs if one is not None},
            recorded=entries,
            observed=Observed(
                jobs={job.id: job for job in jobs},
                found={key: tuple(known) for key, known in by_fingerprint.items()},
                **answers,
            ),
            unresolved=unresolved,
        )
        return State(name="faq", entry=entry or Entry(), overview=overview)

    return made


@pytest.fixture
def shown():
    """Return an action as a table writes it: its kind and reason, or None."""

    def text(action) -> str | None:
        return None if action is None else f"{type(action).__name__}: {action.reason}"

    return text
