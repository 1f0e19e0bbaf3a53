"""Lines of a job's progress as events for people."""

from collections.abc import Mapping

from backends.contract.inspector import Json
from backends.contract.jobs import Event


def event_of(line: Mapping[str, Json]) -> Event:
    """Return a line of `progress.jsonl` as an event of the job's log."""
    time_s = float(str(line.get("time_s", 0.0)))
    data = {key: value for key, value in line.items() if key not in {"time_s", "message"}}
    if "message" in line:
        return Event(time_s=time_s, message=str(line["message"]), data=data)
    parts = [f"step {line.get('step')}/{line.get('total_steps')}"]
    parts += [
        f"{name} {float(str(line[key])):.4g}"
        for key, name in (
            ("loss", "loss"),
            ("reward_accuracy", "reward accuracy"),
            ("reward_margin", "margin"),
            ("held_out_loss", "held-out loss"),
            ("held_out_reward_accuracy", "reward accuracy"),
            ("held_out_reward_margin", "margin"),
            ("tokens_per_s", "tokens/s"),
        )
        if line.get(key) is not None
    ]
    return Event(time_s=time_s, message=" · ".join(parts), data=data)
