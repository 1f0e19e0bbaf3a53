"""Bodies of a service with paths of its own, from and to the bodies of the protocol. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from backends.openai.api.protocol import Body, mapping_in, text_of
from backends.openai.profiles.profile import OwnSetting
from backends.openai.profiles.resource_api import ResourceApi

_NAMES: Final = frozenset({"id", "training_file", "validation_file", "fine_tuned_model"})
"""Fields that hold the last part of a resource's full name."""
_TIMES: Final = frozenset({"created_at", "finished_at"})
_PLACE: Final = re.compile(r"\{([a-z_]+)\}")


def filled(template: Mapping[str, object], values: Mapping[str, object]) -> dict[str, object]:
    """Return a template with the values of its places; without fields whose value is missing.

    A text that is one place becomes the value itself, which may be a number.
    """
    made: dict[str, object] = {}
    for key, inner in template.items():
        if isinstance(inner, Mapping):
            made[key] = filled(inner, values)
        elif not isinstance(inner, str):
            made[key] = inner
        elif place := _PLACE.fullmatch(inner):
            if values.get(place[1]):
                made[key] = values[place[1]]
        elif all(values.get(name) for name in _PLACE.findall(inner)):
            made[key] = inner.format_map(values)
    return made


@dataclass(frozen=True, slots=True, kw_only=True)
class Translator:
    """Translates the bodies of one service, for one account."""

    api: ResourceApi
    settings: Mapping[str, OwnSetting]
    account: str

    def job_body(self, body: Body) -> dict[str, object]:
        """Return the create call of the service for a create call of the protocol."""
        values = {key: value for key, value in body.items() if isinstance(value, str)}
        made = filled(self.api.jobs.sent, {**values, "account": self.account})
        kind = text_of(mapping_in(body, "method").get("type"))
        given = mapping_in(body, "method", kind, "hyperparameters")
        names = {name: own.sent_as or name for name, own in self.settings.items()}
        return made | {names[name]: value for name, value in given.items()}

    def to_job(self, answer: Body) -> dict[str, object]:
        """Return the service's job as a job of the protocol."""
        job = _read(answer, self.api.jobs.read)
        job["object"] = "fine_tuning.job"
        # The end of an ID is the tag of its key, as the end of a suffix is.
        job["user_provided_suffix"] = job.get("id")
        if model := text_of(job.get("fine_tuned_model") or job.get("id")):
            job["fine_tuned_model"] = self.model_name(model)
        said = job.pop("error", None)
        job["error"] = {"message": said} if said else None
        job["hyperparameters"] = {
            name: answer[own.sent_as]
            for name, own in self.settings.items()
            if own.sent_as in answer
        }
        return job

    def to_file(self, answer: Body) -> dict[str, object]:
        """Return the service's file as a file of the protocol."""
        file = _read(answer, self.api.files.read)
        is_ready = text_of(file.get("status")).lower() in self.api.files.ready
        status = "processed" if is_ready else "running"
        return file | {"object": "file", "purpose": "fine-tune", "status": status}

    def model_name(self, model: str) -> str:
        """Return the full name of a model of the account, from its ID."""
        return self.api.model.format(account=self.account, id=model)


def at_place(answer: Body, place: str) -> object:
    """Return the value at a place of an answer, where a dot leads into an object."""
    *outer, key = place.split(".")
    value: object = mapping_in(answer, *outer).get(key)
    return value


def _read(answer: Body, places: Mapping[str, str]) -> dict[str, object]:
    found: dict[str, object] = {}
    for field, place in places.items():
        value = at_place(answer, place)
        if field in _NAMES:
            value = text_of(value).rpartition("/")[2] or None
        elif field in _TIMES:
            value = _seconds(value)
        found[field] = value
    return found


def _seconds(value: object) -> float | None:
    """Return a time in seconds since the epoch; None if it is not a time."""
    try:
        time = datetime.fromisoformat(text_of(value))
    except ValueError:
        return None
    return time.timestamp() if time.tzinfo is not None else None
