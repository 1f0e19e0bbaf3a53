"""Images in training examples: the forms that the service takes. Pure; nothing is fetched."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, ValidationInfo

from backends.excerpt import excerpt
from backends.openai.examples.forms import Form
from backends.pydantic_errors import InvalidValue

_TYPES: Final = ("jpeg", "png", "webp")
_OTHER_ENDINGS: Final = (".gif", ".bmp", ".svg", ".tif", ".tiff", ".heic", ".avif", ".pdf")
_LOW_TOKENS: Final = 85
_USUAL_TOKENS: Final = 765
"""Tokens of an image of 1,024 by 1,024 pixels in full detail; the real size is not known here."""
_CONVERT: Final = f"Convert the image to one of: {', '.join(_TYPES)}."
_WRITE_URL: Final = "Write an https address, or the image itself as data:image/png;base64,..."


def _require_readable(url: str, info: ValidationInfo) -> str:
    if url.startswith("data:"):
        limits: Any = info.context
        _require_image_data(url, limits.image_bytes)
        return url
    if not url.startswith(("https://", "http://")):
        raise InvalidValue(f"is {excerpt(url)}, which the service cannot fetch", _WRITE_URL)
    try:
        path = urlsplit(url).path
    except ValueError:
        raise InvalidValue(f"is {excerpt(url)}, which is not an address", _WRITE_URL) from None
    if path.lower().endswith(_OTHER_ENDINGS):
        raise InvalidValue(f"names {excerpt(url)}, which the service does not read", _CONVERT)
    return url


def _require_image_data(url: str, most_bytes: int | None) -> None:
    head, comma, data = url.partition(",")
    kind = head.removeprefix("data:image/").removesuffix(";base64")
    if not comma or not head.startswith("data:image/") or not head.endswith(";base64"):
        raise InvalidValue(f"begins with {excerpt(head[:40])}", _WRITE_URL)
    if kind not in (*_TYPES, "jpg"):
        raise InvalidValue(f"is of type {excerpt(kind)}, which the service does not read", _CONVERT)
    size = len(data) * 3 // 4
    if most_bytes is not None and size > most_bytes:
        raise InvalidValue(
            f"has {size / 1e6:.1f} MB; the service takes at most {most_bytes / 1e6:.0f}",
            "Make the image smaller.",
        )


class Image(Form):
    """An image of a user's message."""

    url: Annotated[str, AfterValidator(_require_readable)]
    detail: Literal["auto", "low", "high"] = "auto"


def image_tokens(image: Mapping[str, Any]) -> int:
    """Return the approximate number of tokens of an image."""
    return _LOW_TOKENS if image.get("detail") == "low" else _USUAL_TOKENS
