"""Files and uploads: streamed, listed, sent back, refused."""

import hashlib

import pytest

from controller.server.limits import Limits
from tests.controller.server.serve_helpers import lines, refused, serving, upload


def test_a_file_is_kept_as_it_was_sent(server):
    content = lines(500)
    file = upload(server.client, content, name="학습.jsonl")
    assert (file.bytes, file.filename, file.purpose) == (len(content), "학습.jsonl", "fine-tune")
    assert server.client.files.retrieve(file.id) == file
    assert server.client.files.content(file.id).read() == content
    assert server.client.files.delete(file.id).deleted
    assert refused(server.client.files.retrieve, file.id) == (404, "not_found", "id")
    assert refused(server.client.files.content, file.id) == (404, "not_found", "id")
    assert not [*(server.state / "server" / "files").glob("*.bin")]


def test_files_are_listed_by_purpose_order_and_page(client):
    ids = [upload(client, purpose=p).id for p in ("fine-tune", "batch", "fine-tune", "fine-tune")]
    assert [file.id for file in client.files.list()] == ids[::-1]
    assert [file.id for file in client.files.list(order="asc", limit=1)] == ids
    wanted = [file.id for file in client.files.list(purpose="fine-tune", limit=2)]
    assert wanted == [ids[3], ids[2], ids[0]]
    assert client.files.list(purpose="vision").data == []


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("../../../etc/passwd", "passwd"),
        ("/etc/cron.d/evil.jsonl", "evil.jsonl"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("..", ".."),
        ("a\x1b[31mb.jsonl", "a[31mb.jsonl"),
        ("x" * 400, "x" * 255),
    ],
)
def test_a_file_s_name_is_only_a_name(tmp_path, name, kept):
    # Deep enough for a name that climbs up, and no folder of other tests to look through.
    root = tmp_path / "one" / "two" / "repository"
    root.mkdir(parents=True)
    with serving(root) as server:
        before = {path for path in tmp_path.rglob("*") if ".ftctl" not in path.parts}
        file = upload(server.client, name=name)
        assert file.filename == kept
        after = {path for path in tmp_path.rglob("*") if ".ftctl" not in path.parts}
        assert after == before
        disposition = server.client.files.content(file.id).response.headers["content-disposition"]
        assert disposition.startswith("attachment;")


@pytest.mark.parametrize("path", ["..%2f..%2fjobs", "%2e%2e", "file-..%00", "..%2Fftctl.lock"])
def test_a_path_in_the_address_finds_nothing(client, path):
    assert refused(client.files.with_raw_response.retrieve, path)[0] == 404
    assert refused(client.files.content, path)[0] == 404


def test_an_expired_file_is_gone(server, monkeypatch):
    expires = {"anchor": "created_at", "seconds": 3600}
    file = server.client.files.create(
        file=("a.jsonl", lines()), purpose="fine-tune", expires_after=expires
    )
    assert file.expires_at == file.created_at + 3600
    later = file.created_at + 3700
    monkeypatch.setattr("controller.server.files.file_store.time.time", lambda: later)
    assert refused(server.client.files.retrieve, file.id) == (404, "not_found", "id")


def test_what_is_no_upload_is_refused(server):
    files = server.client.files
    assert refused(upload, server.client, purpose="fine_tune") == (400, "invalid_value", "purpose")
    assert refused(upload, server.client, b"\n"[:0] or b"", purpose="x")[0] == 400
    post = server.client.post
    found = refused(post, "/files", cast_to=object, body={"purpose": "fine-tune"})
    assert found == (400, None, None)
    expires = {"anchor": "created_at", "seconds": 1}
    found = refused(files.create, file=b"x", purpose="batch", expires_after=expires)
    assert found == (400, "invalid_value", "expires_after")


def test_limits_of_files(tmp_path):
    limits = Limits(file_bytes=100_000, files=2, poll_s=0.02)
    with serving(tmp_path, limits=limits) as server:
        client = server.client
        found = refused(upload, client, b"x" * 5_000_000)
        assert found == (413, "request_too_large", None)
        assert not [*(server.state / "server" / "files" / ".incoming").iterdir()]
        upload(client, b"x" * 100_000)
        upload(client)
        assert refused(upload, client) == (403, "file_limit_exceeded", None)


def test_an_upload_in_parts_becomes_a_file(server, tmp_path):
    content = lines(3000)
    path = tmp_path / "large.jsonl"
    path.write_bytes(content)
    done = server.client.uploads.upload_file_chunked(
        file=path,
        mime_type="application/jsonl",
        purpose="fine-tune",
        part_size=50_000,
        md5=hashlib.md5(content).hexdigest(),
    )
    assert (done.status, done.file.filename, done.file.bytes) == (
        "completed",
        "large.jsonl",
        len(content),
    )
    assert server.client.files.content(done.file.id).read() == content
    again = server.client.uploads.complete(done.id, part_ids=["whatever"])
    assert again.file == done.file


def begin(client, size=8, **options):
    options = {"filename": "a.jsonl", "mime_type": "text/plain", "purpose": "fine-tune", **options}
    return client.uploads.create(bytes=size, **options)


def test_uploads_that_do_not_add_up(client):
    uploads = client.uploads
    one = begin(client)
    parts = [uploads.parts.create(one.id, data=text).id for text in (b"five5", b"two")]
    found = refused(uploads.complete, one.id, part_ids=parts[:1])
    assert found == (400, "byte_count_mismatch", "part_ids")
    found = refused(uploads.complete, one.id, part_ids=["part_nope"])
    assert found == (404, "not_found", "part_ids")
    found = refused(uploads.complete, one.id, part_ids=parts, md5="0" * 32)
    assert found == (400, "checksum_mismatch", "md5")
    # The order of the parts is the one that is asked for.
    done = uploads.complete(one.id, part_ids=parts[::-1])
    assert client.files.content(done.file.id).read() == b"twofive5"
    assert refused(uploads.parts.create, one.id, data=b"x")[:2] == (400, "upload_not_pending")


def test_uploads_that_are_given_up(server):
    client = server.client
    one = begin(client)
    client.uploads.parts.create(one.id, data=b"12345678")
    assert client.uploads.cancel(one.id).status == "cancelled"
    assert client.uploads.cancel(one.id).status == "cancelled"
    assert refused(client.uploads.complete, one.id, part_ids=["x"])[0] == 400
    assert refused(client.uploads.cancel, "upload_nope") == (404, "not_found", "id")
    assert not [*(server.state / "server" / "uploads").glob("*/part_*")]


def test_limits_of_uploads(tmp_path):
    limits = Limits(upload_bytes=1000, part_bytes=600, uploads=1, upload_s=1)
    with serving(tmp_path, limits=limits) as server:
        client = server.client
        assert refused(begin, client, 1001) == (400, "invalid_value", "bytes")
        assert refused(begin, client, 0) == (400, "invalid_value", "bytes")
        one = begin(client)
        with pytest.raises(Exception, match="unfinished") as caught:
            begin(client)
        assert caught.value.status_code == 429
        assert int(caught.value.response.headers["retry-after"]) >= 1
        found = refused(client.uploads.parts.create, one.id, data=b"x" * 601)
        assert found == (413, "request_too_large", None)
        client.uploads.cancel(one.id)
        begin(client)


def test_a_torn_form_is_refused(server):
    head = {"content-type": "multipart/form-data; boundary=b"}
    form = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc'
    for body, said in [
        (form, "ends in the middle"),
        (b"nonsense", "not valid multipart"),
        (form + b"\r\n--b--\r\n", "purpose"),
        (b"--b--\r\n", "file"),
    ]:
        answer = server.send("POST", "/v1/files", content=body, headers=head)
        assert answer.status_code == 400
        assert said in answer.json()["error"]["message"]
