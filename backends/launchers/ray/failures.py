"""Failed requests to a Ray cluster, in words: what happened, and what to do. Pure.

Proxies and login pages answer in the cluster's place, so bodies are inspected as well as statuses.
"""

import re
import socket
import ssl
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from backends.contract.errors import CredentialsMissing
from backends.excerpt import clipped
from backends.launchers.launcher import LauncherError, Unanswered

_SAID: Final = 200
"""Maximum number of characters of a server's text in a message."""
_LOOKED_AT: Final = 1 << 16
"""Maximum number of bytes of a page to inspect."""
_TITLE: Final = re.compile(rb"<title[^>]*>([^<]*)", re.IGNORECASE)
_TAGS: Final = re.compile(r"<[^<>]*>")
_TRACEBACK: Final = "Traceback (most recent call last)"
_OF_LOGINS: Final = frozenset(
    {
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.PROXY_AUTHENTICATION_REQUIRED,
        HTTPStatus.TOO_MANY_REQUESTS,
    }
)
"""Statuses that mean the same in a page for browsers."""
_TIMES_OUT: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT})


class TokenMissing(LauncherError, CredentialsMissing):
    """The variable with the cluster's token is not set here; no request was sent."""


class NotSent(LauncherError):
    """The cluster cannot be reached; no request was sent."""


class Refusal(LauncherError):
    """The cluster, or a program in front of it, answered with an error.

    Attributes:
        status: HTTP status of the answer.
        said: Text of the answer for people: of a traceback its last line.
        text: Text of the answer as it came.
    """

    def __init__(self, message: str, remedy: str, *, status: int, said: str, text: str) -> None:
        super().__init__(message, remedy)
        self.status = status
        self.said = said
        self.text = text

    @property
    def is_doubtful(self) -> bool:
        """True if the cluster may have made the change all the same."""
        return self.status >= HTTPStatus.INTERNAL_SERVER_ERROR or self.status in _TIMES_OUT


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """Writes the failures of one cluster. The token is in no message."""

    host: str
    """Host and port."""
    token_env: str | None
    token: str | None

    def refusal(self, status: int, location: str, body: bytes) -> Refusal:
        """Return the meaning of an answer that is an error or a redirect.

        Args:
            status: HTTP status.
            location: Where a redirect leads.
            body: Beginning of the body.
        """
        page, text = _is_page(body), body.decode(errors="replace")
        said = self.clean(_page_text(body) if page else gist(text))
        place = f"the Ray cluster at {self.host}"
        if page and status not in _OF_LOGINS:
            place = f"a web page at {self.host}"
        if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
            where = self.clean(urlsplit(location)._replace(query="", fragment="").geturl())
            message = f"{place} sends requests elsewhere: {where or 'it does not tell where'}"
            remedy = (
                "Write that address in `address`; if it is a login page, tunnel the port instead."
            )
        else:
            what, remedy = self._meaning(status)
            shown = f"HTTP {status}: {said}" if said else f"HTTP {status}"
            message = f"{place} {what} ({shown})"
        return Refusal(message, remedy, status=status, said=said, text=text)

    def _meaning(self, status: int) -> tuple[str, str]:
        variable = self.token_env
        set_token = f"Set {variable} to the cluster's token: ray get-auth-token, on its head."
        name_it = "Write `token_env: NAME` in the machine's settings, and set that variable."
        meanings = {
            401: (("wants another token", set_token) if variable else ("wants a token", name_it)),
            403: (("refuses the token", set_token) if variable else ("refuses access", name_it)),
            404: (
                "does not have what is asked for",
                "Check `address`: it is the dashboard's, usually port 8265.",
            ),
            407: (
                "is behind a proxy that wants a password",
                "Put it into HTTP_PROXY or HTTPS_PROXY: http://USER:PASSWORD@HOST:PORT",
            ),
            413: (
                "takes no request of this size",
                "Install ftctl on the cluster, and write `runtime: {venv: PATH}`.",
            ),
            429: (
                "has too many requests",
                "Wait a minute and run the same command again.",
            ),
        }
        fails = ("fails", "Look at the cluster: ray status, and the logs of its dashboard.")
        return meanings.get(status, fails)

    def not_the_api(self, body: bytes) -> Unanswered:
        """Return the meaning of an answer that is not JSON."""
        page = _is_page(body)
        said = self.clean(_page_text(body) if page else body[:_SAID].decode(errors="replace"))
        what = "a web page" if page else "something else"
        return Unanswered(
            f"{what} answers at {self.host} instead of a Ray cluster: {said or 'it is empty'}",
            "Check `address`: it is the dashboard's, usually port 8265. A login page may be in between.",
        )

    def not_sent(self, error: Exception) -> NotSent:
        """Return the meaning of an exception before the request was sent."""
        remedy = "Check `address`, and whether the cluster runs: ray status, on its head."
        reason = self.clean(str(error)) or type(error).__name__
        match error:
            case ssl.SSLCertVerificationError():
                reason = f"its certificate is not trusted: {self.clean(error.verify_message)}"
                remedy = (
                    "Check the host in `address`; of an authority of your own, name the root "
                    "certificate: SSL_CERT_FILE=/path/to/root.pem"
                )
            case ssl.SSLError():
                reason = "it speaks no TLS there"
                remedy = "Write http:// in `address`, if that is so."
            case socket.gaierror():
                reason = "its name is not known here"
                remedy = "Check the host in `address`, and this machine's network."
            case TimeoutError():
                reason = "it does not take the connection in time"
                remedy = "Check the network: a firewall may drop connections."
            case ConnectionRefusedError():
                reason = "nothing listens there"
            case _:
                pass
        return NotSent(f"the Ray cluster at {self.host} cannot be reached: {reason}", remedy)

    def broken_off(self, error: Exception, seconds: float, *, is_over: bool) -> Unanswered:
        """Return the meaning of an exception after the request was sent.

        Args:
            error: The exception.
            seconds: Seconds that the answer could take.
            is_over: Whether they are over.
        """
        if is_over or isinstance(error, TimeoutError):
            reason = f"gives no complete answer within {seconds:.3g} s"
        else:
            reason = f"breaks the connection off ({type(error).__name__})"
        return Unanswered(
            f"the Ray cluster at {self.host} {reason}",
            "Run the same command again; for a slow cluster, raise `timeout_s`.",
        )

    def too_long(self, limit: int) -> Unanswered:
        """Return the meaning of an answer that has more bytes than are read."""
        return Unanswered(
            f"the Ray cluster at {self.host} answers with more than {limit >> 20} MB",
            "Delete jobs that ended long ago: ray job list, then ray job delete ID",
        )

    def clean(self, text: str) -> str:
        """Return a server's text on one short line, without the token."""
        shown = text.replace(self.token, "***") if self.token else text
        shown = " ".join("".join(c if c.isprintable() else " " for c in shown).split())
        return clipped(shown, _SAID)


def gist(text: str) -> str:
    """Return the last line of a traceback; other texts as they are."""
    if _TRACEBACK not in text:
        return text
    # Ray puts a full stop after a traceback that it quotes.
    lines = [line for line in text.splitlines() if line.strip(" .")]
    return lines[-1]


def _is_page(body: bytes) -> bool:
    """Return whether a body is a page for browsers, whatever its content type is."""
    return body[:200].lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<"


def _page_text(body: bytes) -> str:
    """Return the title of a page, or its first words."""
    title = _TITLE.search(body[:_LOOKED_AT])
    if title and title[1].strip():
        return title[1].decode(errors="replace")
    return _TAGS.sub(" ", body[: 10 * _SAID].decode(errors="replace"))
