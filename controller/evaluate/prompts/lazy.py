"""Prompts that are made when they are needed, so that memory does not grow with their number. Pure."""

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, chain, pairwise
from typing import overload

from backends.contract.completions import Prompt


class LazyPrompts(Sequence[Prompt]):
    """Prompts, each made when it is needed, by its place."""

    def __init__(
        self,
        count: int,
        make: Callable[[int], Prompt],
        make_all: Callable[[], Iterator[Prompt]] | None = None,
    ) -> None:
        """Describe prompts.

        Args:
            count: Number of the prompts.
            make: Makes the prompt at a place, which is at least 0.
            make_all: Makes all prompts in order, where that is faster than one by one.
        """
        self._count, self._make, self._make_all = count, make, make_all

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Prompt: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Prompt]: ...

    def __getitem__(self, index: int | slice) -> Prompt | Sequence[Prompt]:
        if isinstance(index, slice):
            return picked(self, range(self._count)[index])
        return self._make(range(self._count)[index])

    def __iter__(self) -> Iterator[Prompt]:
        return map(self._make, range(self._count)) if self._make_all is None else self._make_all()


def changed(prompts: Sequence[Prompt], change: Callable[[Prompt], Prompt]) -> LazyPrompts:
    """Return prompts, each as a function changes it."""
    return LazyPrompts(
        len(prompts), lambda place: change(prompts[place]), lambda: map(change, prompts)
    )


def picked(prompts: Sequence[Prompt], places: Sequence[int]) -> LazyPrompts:
    """Return the prompts at some places."""
    return LazyPrompts(len(places), lambda number: prompts[places[number]])


def joined(parts: Sequence[Sequence[Prompt]]) -> LazyPrompts:
    """Return several sequences of prompts, one after the other."""
    ranges = places_of(parts)

    def make(place: int) -> Prompt:
        part, inside = next(
            (part, inside) for part, inside in zip(parts, ranges, strict=True) if place in inside
        )
        return part[place - inside.start]

    return LazyPrompts(sum(map(len, parts)), make, lambda: chain.from_iterable(parts))


def places_of(parts: Sequence[Sequence[Prompt]]) -> list[range]:
    """Return the places of each sequence's prompts among those that are joined."""
    ends = accumulate(map(len, parts), initial=0)
    return [range(start, end) for start, end in pairwise(ends)]
