"""Images in training examples: what the service takes of them. Pure; nothing is fetched."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from backends.contract.errors import BackendError

_TYPES: Final = ("jpeg", "png", "webp")
_OTHER_ENDINGS: Final = (".gif", ".bmp", ".svg", ".tif", ".tiff", ".heic", ".avif", ".pdf")
_DETAILS: Final = ("auto", "low", "high")
_LOW_TOKENS: Final = 85
_USUAL_TOKENS: Final = 765
"""What an image of 1,024 by 1,024 pixels costs in full detail; the real size is not known here."""
_FORM: Final = 'write {"type": "image_url", "image_url": {"url": "https://..."}}'


def check_image(image: object, most_bytes: int | None) -> None:
    """Check one image.

    Args:
        image: The image as written.
        most_bytes: Largest image that the service accepts; None where that is not published.

    Raises:
        BackendError: The service would refuse or drop the image; the message says why.
    """
    url = image.get("url") if isinstance(image, Mapping) else None
    if not isinstance(image, Mapping) or not isinstance(url, str):
        raise BackendError("an image has no `url`", _FORM)
    detail = image.get("detail", "auto")
    if detail not in _DETAILS:
        raise BackendError(
            f"the detail of an image is {str(detail)[:60]!r}",
            f"write one of: {', '.join(_DETAILS)}",
        )
    if url.startswith("data:"):
        _check_data(url, most_bytes)
    elif not url.startswith(("https://", "http://")):
        raise BackendError(
            f"an image's url is {url[:60]!r}, which the service cannot fetch",
            "write an https address, or the image itself as data:image/png;base64,...",
        )
    elif _path(url).lower().endswith(_OTHER_ENDINGS):
        raise BackendError(
            f"the image {url[:80]!r} is none that the service reads",
            f"convert it to one of: {', '.join(_TYPES)}",
        )


def _path(url: str) -> str:
    try:
        return urlsplit(url).path
    except ValueError:
        raise BackendError(
            f"an image's url is {url[:60]!r}, which is no address", "write an https address"
        ) from None


def image_tokens(image: Mapping[str, Any]) -> int:
    """Return what an image is about counted as."""
    return _LOW_TOKENS if image.get("detail") == "low" else _USUAL_TOKENS


def _check_data(url: str, most_bytes: int | None) -> None:
    head, comma, data = url.partition(",")
    kind = head.removeprefix("data:image/").removesuffix(";base64")
    if not comma or not head.startswith("data:image/") or not head.endswith(";base64"):
        raise BackendError(
            f"an image's url begins with {head[:40]!r}", "write data:image/png;base64,..."
        )
    if kind not in (*_TYPES, "jpg"):
        raise BackendError(
            f"an image is of the type {kind[:40]!r}, which the service does not read",
            f"convert it to one of: {', '.join(_TYPES)}",
        )
    size = len(data) * 3 // 4
    if most_bytes is not None and size > most_bytes:
        raise BackendError(
            f"an image has {size / 1e6:.1f} MB; the service takes at most {most_bytes / 1e6:.0f}",
            "make it smaller",
        )
