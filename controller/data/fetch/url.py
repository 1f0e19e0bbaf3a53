"""Objects in stores: http:// and https:// by httpx, s3:// and similar by fsspec.

The bytes are stored unchanged, under a name with the object's endings, so that `.csv.gz` is read as
such. An object is not transferred again if its store reports no change. Credentials are in the
store's own environment variables and files. A URL may hold a signature in its query, so the query
is neither shown nor stored.
"""

from controller.data.fetch.http import fetch_http
from controller.data.fetch.object_store import fetch_object
from controller.data.fetch.object_url import WEB, parse_object_url
from controller.data.fetch.snapshot import FetchRequest, find_memo, save_memo
from controller.data.sources.source_file import LocatedFile


def fetch(request: FetchRequest) -> LocatedFile:
    """Return the snapshot of an object's bytes.

    Raises:
        SourceUnavailable: No network, no credentials, or no package for the store.
        DataError: The URL cannot be opened, or there is no such object.
    """
    url = parse_object_url(request)
    key = ["url", url.url, url.endings]
    fetch_from = fetch_http if url.scheme in WEB else fetch_object
    memo = fetch_from(url, request.snapshots, find_memo(request.snapshots, key))
    save_memo(request.snapshots, key, memo)
    return LocatedFile(path=memo.path, display_path=url.display_path, format=url.format)
