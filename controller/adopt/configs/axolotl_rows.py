"""Datasets of an Axolotl configuration. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from backends.contract.inspector import Json
from controller.adopt.configs.keys import Account, names, place, shown, text
from controller.adopt.configs.shared import read_hub, refuse_script
from controller.adopt.configs.translation import Fate, Rows


def is_completion(datasets: Json) -> bool:
    """Return whether all datasets are plain texts."""
    entries = datasets if isinstance(datasets, Sequence) else ()
    kinds = [one.get("type") for one in entries if isinstance(one, Mapping)]
    return bool(kinds) and all(kind == "completion" for kind in kinds)


_DATASET: Final = frozenset(
    [
        "path",
        "type",
        "data_files",
        "ds_type",
        "split",
        "name",
        "revision",
        "field",
        "field_messages",
        "text_column",
        "message_property_mappings",
        "message_field_role",
        "message_field_content",
        "conversation",
        "trust_remote_code",
        "field_tools",
    ]
)
"""Keys of a dataset that are read here; every other key changes what its rows mean."""
_SAME: Final[Mapping[str, Sequence[Json]]] = {
    "roles_to_train": (["assistant"], ["gpt"]),
    "train_on_eos": ("turn",),
    "chat_template": ("tokenizer_default",),
}
"""Values with which a key of a dataset says what happens here, too."""
_SHARE_GPT: Final[Mapping[str, Json]] = {"role": "from", "content": "value"}


def read_rows(account: Account, key: str, *, plain: bool) -> Iterator[Rows]:
    """Yield the datasets of a key; those that no source can say become problems."""
    given = account.given.get(key)
    entries = [given] if isinstance(given, str | Mapping) else given
    if not isinstance(entries, Sequence):
        return
    for number_, entry in enumerate(entries):
        at = key if isinstance(given, str | Mapping) else f"{key}[{number_}]"
        whole_entry = {"path": entry} if isinstance(entry, str) else entry
        if not isinstance(whole_entry, Mapping):
            account.refuse(at, "must be a dataset with a `path`", "Correct it there.")
            continue
        if rows := _rows_of(account, at, whole_entry, plain=plain):
            yield rows


def _rows_of(account: Account, at: str, entry: Mapping[str, Json], *, plain: bool) -> Rows | None:
    sub = account.inside(at, entry)
    path = place(at, "path")
    where = sub.text(path)
    if not where:
        sub.refuse(path, "is missing", "Name the file or the dataset there.")
        return None
    if where.endswith(".py") or sub.flag(place(at, "trust_remote_code")):
        refuse_script(sub, path, f"{shown(where)} comes from a script")
        return None
    for name, value in entry.items():
        if name in _SAME and value in _SAME[name]:
            sub.note(Fate.IDLE, place(at, name), "is what happens here, too")
        elif name not in _DATASET and value not in (None, False):
            sub.lost(place(at, name), "is not there: the rows are read without it")
    source = _text_source(sub, at) if plain else _chat_source(sub, at, entry)
    hub = read_hub(
        sub,
        {
            place(at, "name"): "config",
            place(at, "revision"): "revision",
            place(at, "split"): "split",
        },
    )
    if sub.has(place(at, "ds_type")):
        sub.note(Fate.IDLE, place(at, "ds_type"), "follows from the file's ending")
    files = sub.value(place(at, "data_files"), names, [])
    _account_for_rest(sub, at, entry)
    return Rows(
        key=path,
        line=sub.line(path),
        place=where,
        files=tuple(str(one) for one in files) if isinstance(files, list) else (),
        hub=hub,
        source=source,
    )


def _account_for_rest(sub: Account, at: str, entry: Mapping[str, Json]) -> None:
    """Account for the keys of a dataset that had no effect."""
    tools = place(at, "field_tools")
    if sub.has(tools) and sub.given[tools] != "tools":
        sub.lost(tools, "is not there: name that column `tools` in the data")
    told = {line.key for line in sub.lines} | {place(at, "path")}
    for name in entry:
        if place(at, name) not in told:
            sub.note(Fate.IDLE, place(at, name), "has no effect on how the rows are read here")


def _text_source(sub: Account, at: str) -> dict[str, Json]:
    kind, key = place(at, "type"), place(at, "field")
    if not sub.has(key):
        key = place(at, "text_column")
    column = str(sub.value(key, text, "text"))
    if sub.has(kind):
        sub.note(Fate.TRANSLATED, kind, "method: continued-pretraining")
    if column != "text":
        sub.translated(key, f"columns.text: {shown(column)}")
        return {"columns": {"text": column}}
    return {"shape": "text"}


def _chat_source(sub: Account, at: str, entry: Mapping[str, Json]) -> dict[str, Json]:
    key = place(at, "type")
    kind = entry.get("type")
    if isinstance(kind, Mapping):
        return _by_fields(sub, key, kind)
    wanted = str(kind or "")
    if wanted.partition(":")[0].partition(".")[0] == "alpaca":
        sub.lost(
            key,
            "writes the Alpaca prompt around a question; here the base model's chat template does",
        )
        return {"shape": "alpaca"}
    if wanted in {"chat_template", "sharegpt", ""} or wanted.startswith("chat_template."):
        return _by_messages(sub, at, wanted)
    if wanted == "completion":
        sub.refuse(key, "is a dataset of plain texts beside others", "Train them in two steps.")
    elif wanted == "input_output":
        sub.refuse(
            key,
            "marks what is learned in pieces without a template, which no row here can say",
            "Write the rows as `messages`.",
        )
    else:
        sub.lost(key, "is a prompt of Axolotl's own; the rows are read by their keys here")
    return {}


def _by_messages(sub: Account, at: str, kind: str) -> dict[str, Json]:
    column = str(sub.value(place(at, "field_messages"), text, "messages"))
    if kind == "sharegpt" and not sub.has(place(at, "field_messages")):
        column = "conversations"
    shape = {"messages": "chat", "conversations": "sharegpt"}.get(column)
    if shape is None:
        sub.refuse(
            place(at, "field_messages"),
            f"the conversations are in the column {shown(column)}",
            "Rename the column to `messages`, or `conversations` for turns with from and value.",
        )
        return {}
    for name in ("message_property_mappings", "message_field_role", "message_field_content"):
        if sub.has(place(at, name)):
            sub.note(Fate.TRANSLATED, place(at, name), f"shape: {shape}")
    mappings = sub.given.get(place(at, "message_property_mappings"))
    if isinstance(mappings, Mapping) and shape == "chat" and dict(mappings) == dict(_SHARE_GPT):
        sub.refuse(
            place(at, "message_property_mappings"),
            "`messages` hold turns with from and value",
            "Rename the column to `conversations`.",
        )
    sub.translated(place(at, "type"), f"shape: {shape}")
    if sub.has(place(at, "field_messages")):
        sub.note(Fate.TRANSLATED, place(at, "field_messages"), f"shape: {shape}")
    return {"shape": shape}


def _by_fields(sub: Account, key: str, kind: Mapping[str, Json]) -> dict[str, Json]:
    """Return the columns of a dataset whose prompt is written out in the configuration."""
    question = str(kind.get("field_instruction") or "instruction")
    if kind.get("field_input"):
        question = f"{{{question}}}\n{{{kind['field_input']}}}"
    columns: dict[str, Json] = {
        "user": question,
        "assistant": str(kind.get("field_output") or "output"),
    }
    if kind.get("field_system"):
        columns["system"] = str(kind["field_system"])
    sub.note(Fate.TRANSLATED, key, f"columns: {shown(list(columns.values()))}")
    for name in ("format", "no_input_format", "system_format", "system_prompt"):
        if kind.get(name):
            sub.lost(
                f"{key}.{name}",
                "is a prompt of its own; here the base model's chat template is written around the "
                "columns",
            )
    return {"columns": columns}
