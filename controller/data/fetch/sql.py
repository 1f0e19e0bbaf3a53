"""Rows of a database, by a query that only reads.

The database's URL is in the environment variable that the spec names, in SQLAlchemy's form. The
relative path of a SQLite file starts at the repository's root: `sqlite:///data/faq.db` is
`data/faq.db` of the repository. The file must exist; it is never created.

One statement runs in a transaction, which is read-only if the database supports that, and always
rolled back. Rows are streamed through a server-side cursor if the driver has one, so that memory
does not grow with the result. The URL, which may hold a password, appears in no message.
"""

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine
from sqlalchemy.engine import URL, Connection, CursorResult, Engine, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    NoSuchModuleError,
    SQLAlchemyError,
)
from sqlalchemy.pool import NullPool

from backends.installation import install_command, package_command
from controller.data.errors import DataError, SourceUnavailable
from controller.data.fetch.library_message import library_message
from controller.data.fetch.row_writer import BATCH_ROWS, RowWriter
from controller.data.fetch.snapshot import FetchRequest, new_snapshot
from controller.data.sources.source_file import LocatedFile

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_EXAMPLE = "postgresql://reader@db.example.com/faq"

# Characters before the first word of a statement: blanks, comments, brackets.
_BEFORE = r"(?:\s|\(|--[^\n]*(?:\n|$)|/\*.*?\*/)*"
_FIRST_WORD = re.compile(rf"{_BEFORE}(\w*)", re.DOTALL)
_READING = {"select", "with", "values", "table", "from"}

_CONNECT_S = 10
_POSTGRESQL = {
    "connect_timeout": _CONNECT_S,
    "client_encoding": "UTF8",
    # Notice within a minute that a server is gone.
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
}
_BEGIN = {
    # The text of a moment must not depend on the server's time zone.
    "postgresql": ("SET TIME ZONE 'UTC'",),
    "mysql": ("SET SESSION TRANSACTION READ ONLY",),
    "mariadb": ("SET SESSION TRANSACTION READ ONLY",),
    "oracle": ("SET TRANSACTION READ ONLY",),
}
_ONE_STATEMENT = {"postgresql", "sqlite"}
"""Databases whose drivers refuse a second statement."""

_PACKAGES = {"MySQLdb": "mysqlclient"}
"""Packages of drivers whose module has another name."""

_UNAVAILABLE = ("08", "28", "40", "53", "57", "58", "42501")
"""SQLSTATE classes of errors that no query causes: connection, login, conflict, resources,
shutdown, system; and permission denied."""

_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PERM}
_MAY = {
    sqlite3.SQLITE_SELECT,
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_FUNCTION,
    sqlite3.SQLITE_RECURSIVE,
}
"""Permitted actions of a statement in SQLite: no ATTACH, no PRAGMA, no writing."""


def fetch(request: FetchRequest) -> LocatedFile:
    """Return the snapshot of a query's rows.

    Raises:
        SourceUnavailable: The variable is not set, a driver is missing, or the database does not answer.
        DataError: The query is wrong, writes, or returns a value without a form in JSON.
    """
    variable, query = str(request.source.connection), str(request.source.sql)
    url = _url(variable, request)
    _check(query, url.get_backend_name())
    with (
        new_snapshot(request.snapshots) as snapshot,
        _connection(url, request.root, variable) as connection,
    ):
        rows_read = 0
        with _translated(url, lambda: rows_read), _executed(connection, query) as result:
            writer = RowWriter(list(result.keys()), snapshot, field="sql")
            while rows := result.fetchmany(writer.batch):
                writer.add(rows)
                rows_read = writer.count
        if not rows_read:
            raise DataError(
                "the query returns no rows", "Check its conditions and the database.", field="sql"
            )
        path = snapshot.publish(".jsonl")
    return LocatedFile(path=path, display_path=f"sql {variable}", format="jsonl")


def _url(variable: str, request: FetchRequest) -> URL:
    if not _NAME.fullmatch(variable):
        # It may be a URL with a password, so it is not shown.
        raise DataError(
            "`connection` must be the name of an environment variable",
            "Write it like this: connection: FAQ_DATABASE_URL",
            field="connection",
        )
    written = request.environment.get(variable, "").strip()
    if not written:
        raise SourceUnavailable(f"{variable} is not set", f"export {variable}={_EXAMPLE}")
    try:
        url = make_url(written)
    except (ArgumentError, ValueError):
        raise DataError(
            f"{variable} does not hold a database URL",
            f"export {variable}={_EXAMPLE}",
            field="connection",
        ) from None
    if url.get_backend_name() in ("postgres", "postgresql"):
        return url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() == "sqlite":
        return url.set(drivername="sqlite")
    return url


def _check(query: str, backend: str) -> None:
    """Refuse a query that is not one reading statement; the database refuses writing again."""
    first = _FIRST_WORD.match(query)
    word = first[1] if first else ""
    if word.lower() not in _READING:
        what = f"begins with {word[:20]}" if word else "has no statement"
        raise DataError(f"the query {what}; it may only read", "Begin it with SELECT.", field="sql")
    if backend not in _ONE_STATEMENT and ";" in query.rstrip().rstrip(";"):
        raise DataError("the query has a `;`", "Write one statement.", field="sql")


@contextmanager
def _connection(url: URL, root: Path, variable: str) -> Iterator[Connection]:
    engine = _engine(url, root, variable)
    try:
        connection = engine.connect()
    except (SQLAlchemyError, OSError, ValueError) as error:
        # Drivers pass on errors of sockets and host names.
        message = _message(error, url)
        if url.drivername == "sqlite" and not _is_unavailable(error):
            remedy = "Name a SQLite database that can be opened."
            raise DataError(f"{variable}: {message}", remedy, field="connection") from None
        remedy = "Check the URL, the login and the network."
        raise SourceUnavailable(f"{variable}: no connection: {message}", remedy) from None
    try:
        # Never committed: closing rolls back.
        yield connection
    finally:
        connection.close()
        engine.dispose()


def _engine(url: URL, root: Path, variable: str) -> Engine:
    backend = url.get_backend_name()
    try:
        if backend == "sqlite":
            file = _sqlite_file(url, root, variable)
            return create_engine(
                "sqlite://", creator=lambda: _open_sqlite(file), poolclass=NullPool
            )
        dialect = url.get_dialect()
        if dialect.is_async:
            raise DataError(
                f"{variable}: {url.drivername} is an asynchronous driver",
                "Name one that is not: mysql+pymysql://…",
                field="connection",
            )
        settings = {k: v for k, v in _POSTGRESQL.items() if k not in url.query}
        return create_engine(
            url,
            poolclass=NullPool,
            connect_args=settings if backend == "postgresql" else {},
            hide_parameters=True,
        )
    except NoSuchModuleError:
        raise DataError(
            f"{variable}: {url.drivername}:// is not a known database",
            "Use postgresql://, mysql+pymysql:// or sqlite:///, or install the package of "
            "another SQLAlchemy dialect.",
            field="connection",
        ) from None
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        command = (
            install_command("sql")
            if name == "psycopg"
            else package_command(_PACKAGES.get(name, name))
        )
        raise SourceUnavailable(f"reading {backend} needs the package {name}", command) from None
    except (SQLAlchemyError, TypeError, ValueError) as error:
        raise DataError(
            f"{variable} cannot be used: {_message(error, url)}",
            f"export {variable}={_EXAMPLE}",
            field="connection",
        ) from None


def _sqlite_file(url: URL, root: Path, variable: str) -> Path:
    name = url.database or ""
    if name in ("", ":memory:") or name.startswith("file:") or url.host:
        raise DataError(
            f"{variable} does not name a SQLite file",
            f"export {variable}=sqlite:///data/faq.db, relative to the repository",
            field="connection",
        )
    path = root / name
    if not path.is_file():
        raise DataError(
            f"{variable}: there is no file {name!r}",
            "Start it at the repository's root, or write four slashes before an absolute path.",
            field="connection",
        )
    return path.resolve()


def _open_sqlite(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=_CONNECT_S)
    try:
        connection.execute("PRAGMA query_only = ON").close()
        # Reads the file's header, so that a file that is not a database fails here.
        connection.execute("PRAGMA schema_version").close()
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _authorize(action: int, *_: object) -> int:
    return sqlite3.SQLITE_OK if action in _MAY else sqlite3.SQLITE_DENY


def _executed(connection: Connection, query: str) -> CursorResult[tuple[object, ...]]:
    backend = connection.dialect.name
    options = {"stream_results": True, "max_row_buffer": BATCH_ROWS, "no_parameters": True}
    if backend == "postgresql":
        connection.execution_options(postgresql_readonly=True)
    opened = connection.connection.dbapi_connection
    if isinstance(opened, sqlite3.Connection):
        # Only now, since SQLAlchemy executes a PRAGMA on every new connection.
        opened.set_authorizer(_authorize)
    for statement in _BEGIN.get(backend, ()):
        connection.exec_driver_sql(statement)
    # Not `text()`: a colon or a per cent sign in a query has no special meaning.
    result = connection.exec_driver_sql(query.rstrip().rstrip(";"), execution_options=options)
    if not result.returns_rows:
        raise DataError("the query returns no table", "Write a query: SELECT …", field="sql")
    return result


@contextmanager
def _translated(url: URL, rows_read: Callable[[], int]) -> Iterator[None]:
    """Translate a database error: wrong query, or database unavailable."""
    try:
        yield
    except DBAPIError as error:
        message = _message(error, url)
        if message.startswith("not authorized"):
            message = "the query does more than read tables"
        if not _is_unavailable(error):
            raise DataError(
                message, _hint(error) or "Correct the query; it may only read.", field="sql"
            ) from None
        what = "the database cannot be read"
        if rows := rows_read():
            what = f"the database stopped answering after {rows:,} rows"
        raise SourceUnavailable(
            f"{what}: {message}",
            "Run the command again when the database is back, or ask for the right to read.",
        ) from None
    except SQLAlchemyError as error:
        raise DataError(_message(error, url), "Correct the query.", field="sql") from None


def _is_unavailable(error: Exception) -> bool:
    if not isinstance(error, DBAPIError):
        return False
    if error.connection_invalidated:
        return True
    state = getattr(error.orig, "sqlstate", None)
    if isinstance(state, str):
        return state.startswith(_UNAVAILABLE)
    return getattr(error.orig, "sqlite_errorcode", None) in _BUSY


def _message(error: Exception, url: URL) -> str:
    """Return the first line of a database's own message, without the URL's secrets."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    # PostgreSQL's message without the query's lines; MySQL's without its number.
    primary = getattr(getattr(cause, "diag", None), "message_primary", None)
    numbered = cause.args[1] if len(cause.args) > 1 else None
    text = primary or (numbered if isinstance(numbered, str) else None)
    secrets = (url.render_as_string(hide_password=False), url.password, *_values(url))
    return library_message(cause, text, secrets=((secret, "***") for secret in secrets))


def _values(url: URL) -> list[str]:
    """Return the values in a URL's query that may be secrets."""
    return [
        value
        for name, values in url.query.items()
        if re.search(r"pass|secret|token|key", name, re.IGNORECASE)
        for value in ([values] if isinstance(values, str) else values)
    ]


def _hint(error: DBAPIError) -> str:
    hint = getattr(getattr(error.orig, "diag", None), "message_hint", None)
    return hint.splitlines()[0] if isinstance(hint, str) and hint else ""
