"""Objects in stores: http:// and https:// by httpx, s3:// and its like by fsspec.

The bytes are kept as they are, under a name with the object's endings, so that `.csv.gz` is read
as such. An object whose store says that it is unchanged is not transferred again. Credentials are
the store's own: its environment variables and files. A URL may hold a signature in its query;
nothing after the `?` is shown or kept.
"""

from controller.data.fetch.http import read_web
from controller.data.fetch.object_store import read_store
from controller.data.fetch.object_url import WEB, parse_object_url
from controller.data.fetch.snapshot import Fetched, FetchRequest, find_memo, save_memo


def fetch(asked: FetchRequest) -> Fetched:
    """Return the snapshot of an object's bytes.

    Raises:
        SourceUnavailable: No network, no credentials, or no package for the store.
        DataError: The URL is none that is opened, or there is nothing.
    """
    place = parse_object_url(asked)
    key = ["url", place.url, place.endings]
    read = read_web if place.scheme in WEB else read_store
    memo = read(place, asked.snapshots, find_memo(asked.snapshots, key))
    save_memo(asked.snapshots, key, memo)
    return Fetched(path=memo.path, display_path=place.display_path, format=place.format)
