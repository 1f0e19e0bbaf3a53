"""Why one row, or one file, cannot be used. Raised and handed on; becomes a `Problem` in `build`."""

from controller.errors import FtctlError


class DataError(FtctlError):
    """A row that cannot become an example.

    Attributes:
        message: What is wrong.
        remedy: What to type or do next.
        field: For tables, the key of the source in the spec that is to blame: `columns.user`.
        line: Where it is, when the file as a whole was looked at.
        whole: Whether the file as a whole is to blame, and no line of it.
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


class SourceUnavailable(FtctlError):
    """A source that cannot be read here, though nothing in the spec is wrong.

    No credentials, no network, no package of an extra: a stranger's pull request, a laptop on a
    train. A plan says then that the data is known at apply, and never guesses. The message holds no
    secret.
    """
