"""Datasets of a LLaMA-Factory configuration, which `dataset_info.json` describes. Pure."""

from collections.abc import Iterator, Mapping
from typing import Final

from backends.contract.inspector import Json
from controller.adopt.configs.keys import Account, names, shown, whole
from controller.adopt.configs.shared import refuse_script
from controller.adopt.configs.translation import Fate, Rows

INFO: Final = "dataset_info.json"


def dataset_folder(config: Mapping[str, Json]) -> str:
    """Return the folder of `dataset_info.json` as a configuration names it."""
    return str(config.get("dataset_dir") or "data")


def read_rows(account: Account, key: str, info: Mapping[str, Json] | None) -> Iterator[Rows]:
    """Yield the datasets that a key names; those that no source can say become problems."""
    wanted = account.value(key, names, [])
    if not isinstance(wanted, list) or not wanted:
        account.refuse(key, "names no dataset", "Name one there, as in dataset_info.json.")
        return
    limit = account.value("max_samples", whole)
    if limit is not None and key == "dataset":
        account.translated("max_samples", f"data.train: limit: {limit} for each dataset")
    if account.has("dataset_dir") and key == "dataset":
        account.note(Fate.TRANSLATED, "dataset_dir", f"the folder of {INFO}")
    for name in map(str, wanted):
        if dataset_folder(account.given) == "ONLINE":
            yield Rows(key=key, line=account.line(key), place=name, only_hub=True)
            continue
        entry = (info or {}).get(name)
        if not isinstance(entry, Mapping):
            why = f"has no entry {shown(name)}" if info is not None else "is missing"
            account.refuse(
                key,
                f"{shown(name)} cannot be found: {INFO} {why} in {dataset_folder(account.given)}",
                f"Set `dataset_dir` to the folder with the {INFO} that has it.",
            )
            continue
        rows = _rows_of(account, key, name, entry, limit)
        if rows is not None:
            yield rows


def _rows_of(
    account: Account, key: str, name: str, entry: Mapping[str, Json], limit: Json
) -> Rows | None:
    if entry.get("ranking"):
        account.refuse(key, f"{shown(name)} holds pairs of answers", "Name a dataset of answers.")
        return None
    if entry.get("script_url"):
        refuse_script(account, key, f"{shown(name)} comes from a script", verb="enter")
        return None
    media = [one for one in ("images", "videos", "audios") if _columns(entry).get(one)]
    if media:
        account.lost(key, f"{shown(name)} has {', '.join(media)}, which local-gpu does not read")
    source = _source_of(account, key, name, entry)
    if isinstance(limit, int):
        source["limit"] = limit
    if entry.get("num_samples"):
        source["sample"] = {"examples": entry["num_samples"]}
    repository = entry.get("hf_hub_url")
    hub = {
        ours: value
        for theirs, ours in (("subset", "config"), ("split", "split"))
        if (value := entry.get(theirs)) is not None
    }
    place = str(repository or entry.get("file_name") or entry.get("cloud_file_name") or "")
    if not place:
        account.refuse(
            key,
            f"{shown(name)} has neither hf_hub_url nor file_name in {INFO}",
            "Download it once, and enter the file.",
        )
        return None
    account.note(Fate.TRANSLATED, key, f"data: {name} is {place} in {INFO}")
    return Rows(
        key=key,
        line=account.line(key),
        place=place,
        only_hub=bool(repository),
        only_file=not repository,
        hub=hub,
        source=source,
    )


def _columns(entry: Mapping[str, Json]) -> Mapping[str, Json]:
    columns = entry.get("columns")
    return columns if isinstance(columns, Mapping) else {}


def _source_of(account: Account, key: str, name: str, entry: Mapping[str, Json]) -> dict[str, Json]:
    columns, form = _columns(entry), str(entry.get("formatting") or "alpaca")
    if account.text("stage") == "pt":
        return {"columns": {"text": str(columns.get("prompt") or "text")}}
    if form == "alpaca":
        return _from_alpaca(account, key, name, columns)
    tags = entry.get("tags")
    turn = tags if isinstance(tags, Mapping) else {}
    openai = form == "openai" or turn.get("role_tag") == "role"
    column = str(columns.get("messages") or ("messages" if form == "openai" else "conversations"))
    wanted = "messages" if openai else "conversations"
    if column != wanted:
        account.refuse(
            key,
            f"{shown(name)} has its conversations in the column {shown(column)}",
            f"Rename the column to `{wanted}` in the data.",
        )
    return {"shape": "chat" if openai else "sharegpt"}


def _from_alpaca(
    account: Account, key: str, name: str, columns: Mapping[str, Json]
) -> dict[str, Json]:
    if not columns:
        return {"shape": "alpaca"}
    question, answer = columns.get("prompt"), columns.get("response")
    if not (question and answer):
        account.refuse(
            key,
            f"{shown(name)} names no columns with question and answer",
            f"Write `columns: {{prompt: …, response: …}}` for it in {INFO}.",
        )
        return {}
    more, system = columns.get("query"), columns.get("system")
    usual = (question, answer, more, system) == ("instruction", "output", "input", None)
    if usual or columns.get("history"):
        return {"shape": "alpaca"}
    user = f"{{{question}}}\n{{{more}}}" if more else question
    found: dict[str, Json] = {"user": user, "assistant": answer}
    return {"columns": found | ({"system": system} if system else {})}
