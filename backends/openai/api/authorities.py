"""The authorities whose certificates are trusted, read once a process."""

import os
import ssl
from functools import cache

import httpx2


def authorities() -> ssl.SSLContext:
    """Return what is trusted, as httpx finds it: `SSL_CERT_FILE`, `SSL_CERT_DIR`, the system's own.

    Reading it takes longer than everything else that opens a client, and a backend opens several.
    """
    return _read(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@cache
def _read(file: str | None, folder: str | None) -> ssl.SSLContext:
    del file, folder  # httpx reads them from the environment
    return httpx2.create_ssl_context()
