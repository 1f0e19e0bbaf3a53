"""What `evaluation.retain` of a spec needs before anything is trained: its files, and its model."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from backends.contract.errors import BackendError
from backends.contract.inspector import ExampleInspector
from backends.contract.methods import METHODS
from controller.data.dataset import Split, build_retained
from controller.errors import InvalidInput, Problem
from controller.evaluate.gate import RETAIN
from controller.evaluate.retain.items import count_items
from controller.evaluate.retain.suites import SUITES, TOOL_CALLS
from controller.resolve.inputs import Readings, data_paths
from controller.spec.data import Source
from controller.spec.load import LoadedSpec
from controller.spec.retain import ALL, RetainForm, RetainSource, sources_of, suites_of

_ASKED: Final[Mapping[str, Any]] = {"role": "user", "content": "What time is it?"}
_PLAIN: Final[Mapping[str, Any]] = {
    "messages": [_ASKED, {"role": "assistant", "content": "It is noon."}]
}
_CALL: Final[Mapping[str, Any]] = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "get_time", "arguments": '{"city":"Seoul"}'},
}
_CALLING: Final[Mapping[str, Any]] = {
    "messages": [_ASKED, {"role": "assistant", "content": None, "tool_calls": [_CALL]}],
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "get_time",
                "description": "Return the time.",
                "parameters": {
                    "type": "object",
                    "properties": {"city": {"type": "string"}},
                    "required": ["city"],
                },
            },
        }
    ],
}


def find_retained(loaded: LoadedSpec, readings: Readings) -> dict[str, Split]:
    """Return the examples of each file in `evaluation.retain`, by its name.

    Raises:
        InvalidInput: With every problem of the files.
        DataNotRead: A file cannot be read on this machine.
    """
    paths = data_paths(readings)
    found: dict[str, Split] = {}
    for index, source in enumerate(loaded.spec.evaluation.retain):
        if isinstance(source, RetainSource):
            try:
                found[source.name] = build_retained(
                    Source(path=source.path, columns=source.columns),
                    field=f"evaluation.retain[{index}]",
                    file=loaded.file,
                    folder=loaded.folder,
                    paths=paths,
                )
            except InvalidInput as error:
                raise type(error)([loaded.placed(one) for one in error.problems]) from None
    return found


def retained_sizes(retain: Sequence[RetainForm], files: Mapping[str, Split]) -> dict[str, int]:
    """Return the number of prompts of each score that is a share of right answers.

    Args:
        retain: The spec's list.
        files: Examples of its files, by their names.
    """
    sizes = {f"{RETAIN}{name}": count_items(name) for name in suites_of(retain)}
    shares = {
        name: files[name].examples
        for name, source in sources_of(retain).items()
        if source.metric.metric.is_proportion
    }
    return sizes | {f"{RETAIN}{name}": count for name, count in shares.items()}


def check_tools(loaded: LoadedSpec, inspector: ExampleInspector) -> Iterator[Problem]:
    """Yield a problem if the suite `tool_calls` is asked of a model that cannot read tools.

    Args:
        loaded: The spec.
        inspector: Inspects the spec's examples for its model.
    """
    retain = loaded.spec.evaluation.retain
    if TOOL_CALLS not in suites_of(retain) or not METHODS[loaded.spec.method].is_of_conversations:
        return
    try:
        inspector.check(_PLAIN)
    except BackendError:
        return  # The model reads no conversation, which its data says.
    try:
        inspector.check(_CALLING)
    except BackendError as error:
        index = next(at for at, one in enumerate(retain) if one in {TOOL_CALLS, ALL})
        others = ", ".join(name for name in SUITES if name != TOOL_CALLS)
        message = f"the model cannot answer the prompts of {TOOL_CALLS}: {error.message}"
        remedy = (
            f"Leave it out: write {others} instead of {ALL}."
            if retain[index] == ALL
            else f"Remove {TOOL_CALLS}."
        )
        yield loaded.problem(("evaluation", "retain", index), message, remedy)
