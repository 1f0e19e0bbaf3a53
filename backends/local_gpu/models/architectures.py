"""Refusals of models that cannot be trained here, by their config.json.

The names of architectures are read from the files of the installed transformers, whose import takes
seconds.
"""

import re
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from backends.contract.errors import BackendError
from backends.local_gpu.json_files import read_json

_TABLE: Final = r"^{name} = OrderedDict\(\n(.*?)^\)"
_ENTRY: Final = re.compile(r'^ {4,8}\("([\w.-]+)", ', re.MULTILINE)
_ASKED: Final = (
    "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
    "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES",
    "MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES",
)
_KNOWN: Final = "CONFIG_MAPPING_NAMES"


def require_trainable(folder: Path, name: str) -> None:
    """Require a causal language model that the installed transformers knows, not quantised.

    Args:
        folder: Folder of the model. Without config.json in it, nothing is refused.
        name: The model, for messages.

    Raises:
        BackendError: It is something else, and what.
    """
    config: Mapping[str, Any] = read_json(folder / "config.json") or {}
    _require_architecture(config, name)
    quantised = config.get("quantization_config")
    if isinstance(quantised, Mapping):
        method = str(quantised.get("quant_method") or "an unnamed method")
        bits = quantised.get("bits")
        size = f", {bits} bits" if isinstance(bits, int) else ""
        raise BackendError(
            f"the weights of {name} are stored quantised ({method}{size}), and training needs them "
            "as they were before",
            "Name the model from which it was made, which its card names; with `quantization: nf4` it "
            "takes as little memory.",
        )


def _require_architecture(config: Mapping[str, Any], name: str) -> None:
    kind = config.get("model_type")
    known, asked = _architectures()
    if not isinstance(kind, str) or not asked or kind in asked:
        return
    if kind in known:
        raise BackendError(
            f"{name} is of the architecture {kind}, which writes no text",
            "Name a model that writes text.",
        )
    if config.get("auto_map"):
        raise BackendError(
            f"{name} needs code of its own repository (`auto_map` in config.json), and no code of "
            f"a model ever runs; the installed transformers has no architecture {kind}",
            "Upgrade transformers if a newer one has the architecture, or name another model.",
        )
    raise BackendError(
        f"{name} is of the architecture {kind}, which transformers {_installed()} does not know",
        "Upgrade transformers, or name another model.",
    )


@cache
def _architectures() -> tuple[frozenset[str], frozenset[str]]:
    """Return the architectures that transformers knows, and those that write text."""
    # `find_spec` imports no package above the one that it looks for.
    found = find_spec("transformers")
    places = found.submodule_search_locations if found is not None else None
    if not places:
        return frozenset(), frozenset()
    folder = Path(places[0]) / "models" / "auto"
    known = _names(folder / "auto_mappings.py", (_KNOWN,))
    asked = _names(folder / "modeling_auto.py", _ASKED)
    return (known | asked, asked) if known else (asked, frozenset())


def _names(file: Path, tables: tuple[str, ...]) -> frozenset[str]:
    try:
        text = file.read_text(encoding="utf-8")
    except OSError:
        return frozenset()
    found = (
        re.search(_TABLE.format(name=re.escape(table)), text, re.MULTILINE | re.DOTALL)
        for table in tables
    )
    return frozenset(name for each in found if each for name in _ENTRY.findall(each[1]))


def _installed() -> str:
    try:
        return version("transformers")
    except PackageNotFoundError:
        return "(not installed)"
