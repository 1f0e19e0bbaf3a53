"""Models in production that this machine cannot use: trained elsewhere, and not stored. Pure."""

from collections.abc import Iterator, Mapping

from controller.lockfile.model import Entry


def absent_in_production(
    entries: Mapping[str, Entry], absent: Mapping[tuple[str, str], str]
) -> dict[str, str]:
    """Return a remark for each fine-tune whose model in production is only at another machine.

    Args:
        entries: What is recorded.
        absent: What to do about each such model, by place and ID.
    """
    return dict(_remarks(entries, absent))


def _remarks(
    entries: Mapping[str, Entry], absent: Mapping[tuple[str, str], str]
) -> Iterator[tuple[str, str]]:
    for name, entry in sorted(entries.items()):
        build = entry.builds.get(entry.production or "")
        remedy = None if build is None else absent.get((build.backend, build.model_id))
        if remedy is not None:
            yield name, f"in production at another machine; {remedy}"
