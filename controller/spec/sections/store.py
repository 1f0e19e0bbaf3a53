"""The section `store` of `ftctl.yaml`: the home of trained models."""

from urllib.parse import urlsplit

from pydantic import field_validator

from backends.excerpt import excerpt
from backends.pydantic_errors import InvalidValue
from controller.spec.base import NonEmpty, Strict

_STORES = ("s3", "gs", "az", "hf")
"""Schemes of stores; anything else is a path."""
_KINDS = f"Start it with one of {', '.join(f'{one}://' for one in _STORES)}, or name a folder."


class StoreSettings(Strict):
    """Store of trained models, which other machines and fresh clones use them from."""

    url: NonEmpty
    """`s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX`, `az://CONTAINER/PREFIX`, `hf://ORG/REPO`, or a
    shared folder, relative to `ftctl.yaml`."""
    private: bool = False
    """True if only people who may see private data can read the store. Models that learned from
    `sensitivity: private` data are stored nowhere else."""

    @field_validator("url")
    @classmethod
    def _is_a_store(cls, url: str) -> str:
        return store_address(url)


def store_address(url: str) -> str:
    """Return the address of a store.

    Raises:
        InvalidValue: It is none, or holds a secret.
    """
    if not url.isprintable():
        raise InvalidValue("holds characters that cannot be printed", "Write a plain address.")
    if "://" not in url:
        return url
    try:
        parts = urlsplit(url)
    except ValueError:
        # The address is not shown, as it may hold a login.
        raise InvalidValue("is not an address", _KINDS) from None
    # A hub is found by its scheme as it is written, buckets in any case.
    is_misspelt_hub = parts.scheme == "hf" and not url.startswith("hf:")
    if parts.scheme not in _STORES or is_misspelt_hub:
        scheme = url.partition("://")[0]
        raise InvalidValue(f"{excerpt(scheme)} is not a kind of store", _KINDS)
    if "@" in parts.netloc or parts.query or parts.fragment:
        remedy = "Remove it: stores find their credentials in the environment."
        raise InvalidValue("holds a login or a key", remedy)
    inside = [part for part in parts.path.split("/") if part]
    if not parts.netloc or ".." in inside or (parts.scheme == "hf" and len(inside) != 1):
        form = "hf://ORG/REPO" if parts.scheme == "hf" else f"{parts.scheme}://BUCKET/PREFIX"
        raise InvalidValue(f"{excerpt(url)} names no place", f"Write {form}.")
    return url
