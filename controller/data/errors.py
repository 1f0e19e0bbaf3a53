"""Why a row, a file or a source cannot be used: raised anywhere below `dataset`, then a `Problem`."""

from controller.errors import FtctlError


class DataError(FtctlError):
    """A row, a file or a source that cannot be used as the spec says.

    Attributes:
        message: What is wrong.
        remedy: What to type or do next.
        field: For tables, the key of the source in the spec that is wrong: `columns.user`.
        line: Line of the problem, if the whole file was inspected.
        whole: True if the problem concerns the whole file and none of its lines.
    """

    def __init__(
        self,
        message: str,
        remedy: str = "",
        field: str = "",
        line: int | None = None,
        *,
        whole: bool = False,
    ) -> None:
        super().__init__(message, remedy, field=field, line=line)
        self.whole = whole


class EmptyExample(DataError):
    """A row without a question or an answer, which a spec may ask to drop."""


class PersonalDataFound(DataError):
    """A row with personal data that the spec refuses; no setting sets it aside."""


class NotUtf8(DataError):
    """A line that is not UTF-8 text: if only the file's beginning was decoded, decode all of it."""


class SourceUnavailable(FtctlError):
    """A source that cannot be read on this machine, though the spec is right.

    No credentials, no network, no package of an extra: a stranger's pull request, a laptop on a
    train. The plan then leaves the data to `apply`, and never guesses. Its message has no secret.
    """
