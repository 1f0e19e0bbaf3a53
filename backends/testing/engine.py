"""An engine without models, for tests."""

from collections.abc import Callable, Iterator, Sequence

from backends.contract.completions import Chunk, Completion, Prompt, Sampling


class ScriptedEngine:
    """Implements `Engine`: answers by a function, a word at a time."""

    def __init__(
        self,
        answer: Callable[[str | None, Prompt], Completion],
        require: Callable[[Sequence[str | None]], None],
    ) -> None:
        self._answer = answer
        self._require = require

    def generate(self, model: str | None, prompt: Prompt, sampling: Sampling) -> Iterator[Chunk]:
        """Stream one answer."""
        del sampling
        self._require([model])
        given = self._answer(model, prompt)
        words = given.text.split(" ")
        for index, word in enumerate(words[:-1]):
            yield Chunk(text=word + " " * (index < len(words) - 1))
        yield Chunk(
            text=words[-1],
            finish_reason=given.finish_reason,
            prompt_tokens=len(prompt.messages),
            completion_tokens=len(words),
        )

    def close(self) -> None:
        """Do nothing."""
