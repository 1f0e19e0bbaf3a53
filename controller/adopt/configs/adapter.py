"""Settings of an adapter that peft saved (`adapter_config.json`), and what its trainer left. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from backends.contract.inspector import Json
from backends.contract.methods import PROMPT
from backends.registry import LOCAL
from controller.adopt.configs.keys import (
    Account,
    Becomes,
    Key,
    LineOf,
    flag,
    go_through,
    idle,
    lost,
    names_or_pattern,
    number,
    numbers,
    own,
    shown,
    some_names,
    whole,
)
from controller.adopt.configs.translation import Fate, Line
from controller.adopt.hosted_spec import FRACTION, data_path
from controller.adopt.spec_text import HEAD, AdoptedSpec
from controller.errors import Problem

TOOL: Final = "peft"
CONFIG: Final = "adapter_config.json"
WEIGHTS: Final = "adapter_model.safetensors"
TRAINER_STATE: Final = "trainer_state.json"
READ: Final = frozenset({CONFIG, WEIGHTS, TRAINER_STATE, "README.md"})
"""Files of an adapter's folder that are read or copied."""
_FLATTERED: Final = (
    "Declared by a person. If the adapter was trained on all of these rows, its scores flatter it."
)
_NOTHING: Final[tuple[Json, ...]] = (None, False, "", "none")

TABLE: Final[Mapping[str, Key]] = {
    **own("base_model_name_or_path revision target_modules"),
    "r": Becomes(name="r", read=whole, default=8),
    "lora_alpha": Becomes(name="lora_alpha", read=number, default=8),
    "lora_dropout": Becomes(name="lora_dropout", read=number, default=0.0),
    "use_rslora": Becomes(name="use_rslora", read=flag, default=False),
    "target_parameters": Becomes(name="target_parameters", read=some_names),
    "modules_to_save": Becomes(name="modules_to_save", read=some_names),
    "exclude_modules": Becomes(name="exclude_modules", read=names_or_pattern),
    "layers_to_transform": Becomes(name="layers_to_transform", read=numbers),
    **lost(
        "is in the weights; a training from the spec would not repeat it",
        "rank_pattern alpha_pattern layers_pattern init_lora_weights loftq_config eva_config "
        "corda_config lora_ga_config use_qalora arrow_config",
        (None, False, True),
    ),
    **idle(
        "says how peft loads the adapter",
        "peft_type task_type inference_mode auto_mapping peft_version fan_in_fan_out "
        "megatron_config megatron_core runtime_config ensure_weight_tying qalora_group_size",
    ),
}
_VALUES: Final = frozenset(key for key, entry in TABLE.items() if isinstance(entry, Becomes))
"""Settings of which zero and false say something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """An adapter, as its settings describe it."""

    base_model: str
    """As written there."""
    revision: str | None
    hyperparameters: Mapping[str, Json]
    """What its settings tell of its training, under ftctl's names."""
    told: Sequence[str]
    """Sentences on its training that its trainer left."""
    lines: Sequence[Line]
    problems: Sequence[Problem]


def translate(
    config: Mapping[str, Json], state: Mapping[str, Json] | None, file: str, line_of: LineOf
) -> Adapter:
    """Translate an adapter's settings.

    Args:
        config: The parsed `adapter_config.json`.
        state: The parsed `trainer_state.json`; None if there is none.
        file: The settings' name in messages.
        line_of: Returns the line of a path.
    """
    # peft writes every setting that it knows, most of them empty.
    given = {key: one for key, one in config.items() if not _is_nothing(one) or key in _VALUES}
    account = Account(given=given, file=file, line_of=line_of)
    go_through(account, TABLE)
    hyperparameters: dict[str, Json] = {"finetuning_type": "lora", **account.hyperparameters}
    layers = given.get("target_modules")
    if layers == "all-linear" or (isinstance(layers, Sequence) and not isinstance(layers, str)):
        wanted: Json = layers if isinstance(layers, str) else sorted(map(str, layers))
        hyperparameters["target_modules"] = wanted
        account.translated("target_modules", f"hyperparameters.target_modules: {shown(wanted)}")
    elif layers is not None:
        hyperparameters["target_modules"] = layers
        account.translated("target_modules", f"hyperparameters.target_modules: {shown(layers)}")
    base_model = account.text("base_model_name_or_path")
    if base_model:
        account.translated("base_model_name_or_path", "is the base model")
    revision = account.text("revision")
    if revision:
        account.translated("revision", f"revision: {shown(revision)}")
    return Adapter(
        base_model=base_model,
        revision=revision or None,
        hyperparameters=hyperparameters,
        told=tuple(_told(state or {})),
        lines=tuple(account.lines),
        problems=tuple(account.problems),
    )


def supervised_spec(
    adapter: Adapter, *, name: str, folder: str, base_model: str, has_held_out: bool
) -> AdoptedSpec:
    """Return the spec of an adapter whose training data a person declares.

    Args:
        adapter: The adapter.
        name: The fine-tune's name.
        folder: The adapter's folder, for people.
        base_model: The base model as a spec names it.
        has_held_out: True if there is a file of held-out examples.
    """
    held_out: Json = {"fraction": FRACTION}
    if has_held_out:
        held_out = [{"path": data_path(name, "held_out")}]
    values: dict[str, Json] = {"backend": LOCAL, "base_model": base_model}
    if adapter.revision is not None:
        values["revision"] = adapter.revision
    values["data"] = {"train": [{"path": data_path(name, "train")}], "held_out": held_out}
    values["hyperparameters"] = dict(adapter.hyperparameters)
    notes = {HEAD: [*_head(adapter, folder)]}
    if not has_held_out:
        notes["data"] = [_FLATTERED]
    return AdoptedSpec(name=name, values=values, notes=notes)


def prompt_spec(
    adapter: Adapter, *, name: str, folder: str, model_id: str, has_held_out: bool
) -> AdoptedSpec:
    """Return the spec of an adapter of whose training data nothing is known: it is asked as it is.

    Args:
        adapter: The adapter.
        name: The fine-tune's name.
        folder: The adapter's folder, for people.
        model_id: The ID under which this machine has the adapter.
        has_held_out: True if there is a file of held-out examples.
    """
    values: dict[str, Json] = {"backend": LOCAL, "base_model": model_id, "method": PROMPT.name}
    if has_held_out:
        values["data"] = {"held_out": [{"path": data_path(name, "held_out")}]}
    base = adapter.base_model.rpartition("/")[2] if _is_path(adapter) else adapter.base_model
    told = {key: one for key, one in adapter.hyperparameters.items() if key != "finetuning_type"}
    settings = ", ".join(f"{key} {shown(one)}" for key, one in told.items())
    head = [
        *_head(adapter, folder),
        f"An adapter of {base}: {settings}.",
        "Its training data is not known, so it is asked as it is, and never trained again.",
        f"On another machine, type `ftctl adopt --from FOLDER --name {name}` there once.",
        f"To measure it: data: {{held_out: [{{path: {data_path(name, 'held_out')}}}]}}",
    ]
    return AdoptedSpec(name=name, values=values, notes={HEAD: head})


def first_note(folder: str) -> str:
    """Return the first comment of an adapter's spec."""
    return f"Adopted from the adapter in {folder}."


def _head(adapter: Adapter, folder: str) -> Iterator[str]:
    yield first_note(folder)
    yield from adapter.told


def _told(state: Mapping[str, Json]) -> Iterator[str]:
    """Yield what a Trainer's state tells of the training."""
    known = {"steps": state.get("global_step"), "epochs": state.get("epoch")}
    said = [f"{key} {value}" for key, value in known.items() if isinstance(value, int | float)]
    losses = state.get("log_history")
    last = [
        one["loss"]
        for one in (losses if isinstance(losses, Sequence) and not isinstance(losses, str) else ())
        if isinstance(one, Mapping) and isinstance(one.get("loss"), int | float)
    ]
    if last:
        said.append(f"last loss {last[-1]}")
    if said:
        yield f"Its trainer's state tells: {', '.join(said)}."


def _is_nothing(value: Json) -> bool:
    return value in _NOTHING or (isinstance(value, Mapping | Sequence) and not value)


def _is_path(adapter: Adapter) -> bool:
    return adapter.base_model.startswith((".", "/", "~"))


def as_it_is(lines: Sequence[Line]) -> list[Line]:
    """Return lines on an adapter's settings for a spec that trains nothing."""
    found = []
    for line in lines:
        if line.text.startswith("hyperparameters."):
            found.append(replace(line, text="is in the adapter; a comment of the spec says it"))
        elif line.fate is Fate.LOST:
            found.append(replace(line, fate=Fate.IDLE, text="is in the weights"))
        else:
            found.append(line)
    return found


def left_out(names: Sequence[str]) -> list[Line]:
    """Return a line for each file of the folder that nothing reads."""
    return [
        Line(
            fate=Fate.IDLE,
            key=name,
            text="is a file that nothing here reads; a pickle among them is never opened",
        )
        for name in names
        if name not in READ
    ]
