"""Why one row, or one file, cannot be used. Raised and handed on; becomes a `Problem` in `build`."""


class Unusable(Exception):
    """A row that cannot become an example.

    Attributes:
        message: What is wrong.
        remedy: What to type or do next.
        field: For tables, the key of the source in the spec that is to blame: `columns.user`.
        line: Where it is, when the file as a whole was looked at.
    """

    def __init__(
        self, message: str, remedy: str = "", field: str = "", line: int | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.field = field
        self.line = line
