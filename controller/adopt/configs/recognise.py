"""The tool that a configuration belongs to, recognised by its keys. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from backends.contract.inspector import Json
from controller.adopt.configs import axolotl, llama_factory, soup, trl
from controller.adopt.configs.keys import LineOf
from controller.adopt.configs.translation import Translation
from controller.errors import InvalidInput, Problem

Translate = Callable[[Mapping[str, Json], str, LineOf, "Mapping[str, Json] | None"], Translation]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A tool whose configurations can be translated."""

    name: str
    needed: tuple[str, ...]
    """Keys that each of its configurations has."""
    typical: tuple[str, ...]
    """Keys of which each of its configurations has at least one."""
    translate: Translate

    def keys_in(self, config: Mapping[str, Json]) -> list[str]:
        """Return the keys that tell the tool; empty if a configuration is not the tool's."""
        if not all(key in config for key in self.needed):
            return []
        found = [key for key in self.typical if key in config]
        return [*self.needed, *found] if found else []


TOOLS: Final = (
    Tool(
        name=axolotl.TOOL,
        needed=axolotl.NEEDED,
        typical=axolotl.TYPICAL,
        translate=lambda config, file, line_of, _: axolotl.translate(config, file, line_of),
    ),
    Tool(
        name=soup.TOOL,
        needed=soup.NEEDED,
        typical=soup.TYPICAL,
        translate=lambda config, file, line_of, _: soup.translate(config, file, line_of),
    ),
    Tool(
        name=trl.TOOL,
        needed=trl.NEEDED,
        typical=trl.TYPICAL,
        translate=lambda config, file, line_of, _: trl.translate(config, file, line_of),
    ),
    Tool(
        name=llama_factory.TOOL,
        needed=llama_factory.NEEDED,
        typical=llama_factory.TYPICAL,
        translate=llama_factory.translate,
    ),
)
"""All tools; of two with equally many keys, the first."""


def recognise(config: Json, file: str) -> tuple[Tool, list[str]]:
    """Return the tool of a configuration, and the keys that tell it.

    Raises:
        InvalidInput: No tool has such configurations.
    """
    if not isinstance(config, Mapping):
        message, remedy = "must be a mapping of keys to values", _wanted()
        raise InvalidInput([Problem(file=file, line=1, message=message, remedy=remedy)])
    found = [(len(keys), -at) for at, tool in enumerate(TOOLS) if (keys := tool.keys_in(config))]
    if not found:
        message = "is a configuration of none of the tools that ftctl reads"
        raise InvalidInput([Problem(file=file, line=1, message=message, remedy=_wanted())])
    tool = TOOLS[-max(found)[1]]
    return tool, tool.keys_in(config)


def _wanted() -> str:
    lines = [
        f"{tool.name}: {', '.join(tool.needed)}, and one of {', '.join(tool.typical)}"
        for tool in TOOLS
    ]
    return "\n".join(["These keys were looked for:", *lines])
