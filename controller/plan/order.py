"""Order in which a pass carries out its actions. Pure."""

from collections.abc import Sequence

from controller.plan.actions import Action, Retire, Reuse


def in_order(actions: Sequence[Action]) -> list[Action]:
    """Return the actions in the order of carrying out: what takes long comes last.

    A fine-tune is forgotten after others have taken what they need of it. The actions of one
    fine-tune stay in their order.
    """
    return sorted(actions, key=lambda action: action.turn)


def heir_of(action: Action, actions: Sequence[Action]) -> str | None:
    """Return the fine-tune that takes a build from an entry before that is forgotten."""
    if not isinstance(action, Retire):
        return None
    takers = (one for one in actions if isinstance(one, Reuse) and one.source == action.name)
    return next((one.name for one in takers), None)
