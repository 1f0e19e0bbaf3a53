"""Addresses in `ftctl.yaml`: stores, run folders of machines, trackers, and where tokens are sent."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.pydantic_errors import InvalidValue
from controller.errors import InvalidInput
from controller.spec.sections.store import store_address
from controller.spec.settings import is_safe_address, load_settings

KINDS = "Start it with one of s3://, gs://, az://, hf://, or name a folder."
STORE = "store: {{url: '{}'}}"
MLFLOW = "tracking: {{mlflow: {{experiment: faq, tracking_uri: '{}'}}}}"
RUNS = "machines: {{m: {{launcher: manual, runs: '{}'}}}}"
DEPLOY = "endpoints: {{e: {{kind: nebius, deploy: {{base_url: '{}'}}}}}}"


def problems_of(root, text):
    (root / "ftctl.yaml").write_text(text, encoding="utf-8")
    try:
        load_settings(root)
    except InvalidInput as error:
        return [str(one) for one in error.problems]
    return []


@pytest.mark.parametrize(
    "address",
    ["s3://models", "gs://models/a/b", "az://c/", "S3://models", "hf://acme/models", "../models", "모델"],
)  # fmt: skip
def test_a_bucket_a_hub_and_a_folder_are_stores(tmp_path, address):
    assert problems_of(tmp_path, STORE.format(address)) == []
    store = load_settings(tmp_path).store
    assert (store.url, store.private) == (address, False)


@pytest.mark.parametrize(
    ("address", "message", "remedy"),
    [
        ("s3://[models", "is not an address", KINDS),
        ("s3://me:secret@[x/models", "is not an address", KINDS),
        ("s3://b\u2100/models", "is not an address", KINDS),
        ("HF://acme/models", "'HF' is not a kind of store", KINDS),
        ("https://models.example", "'https' is not a kind of store", KINDS),
        ("://models", "'' is not a kind of store", KINDS),
        ("s3://key@bucket/a", "holds a login or a key", "Remove it: stores find their credentials in the environment."),
        ("s3://bucket/a?key=1", "holds a login or a key", "Remove it: stores find their credentials in the environment."),
        ("s3://bucket/a#1", "holds a login or a key", "Remove it: stores find their credentials in the environment."),
        ("gs:///a", "'gs:///a' names no place", "Write gs://BUCKET/PREFIX."),
        ("az://c/a/../b", "'az://c/a/../b' names no place", "Write az://BUCKET/PREFIX."),
        ("hf://acme", "'hf://acme' names no place", "Write hf://ORG/REPO."),
        ("hf://acme/a/b", "'hf://acme/a/b' names no place", "Write hf://ORG/REPO."),
        ("s3://bucket/a\u202eb", "holds characters that cannot be printed", "Write a plain address."),
    ],
)  # fmt: skip
@pytest.mark.parametrize(("field", "text"), [("store.url", STORE), ("machines.m.runs", RUNS)])
def test_what_names_no_store_is_refused_with_a_remedy(
    tmp_path, field, text, address, message, remedy
):
    found = problems_of(tmp_path, text.format(address))
    if address.lower().startswith("hf://") and field == "machines.m.runs":
        message = "a hub repository cannot be written every few seconds"
        remedy = "Name a shared folder, or a bucket."
    assert found == [f"ftctl.yaml:1: {field}: {message}\n    {remedy}"]
    assert "secret" not in found[0]


@settings(deadline=None)
@given(
    st.text(st.characters(codec="utf-8"), max_size=30) | st.from_regex(r"[a-zA-Z]{1,3}://.{0,20}")
)
def test_an_address_is_kept_as_written_or_refused_with_a_remedy(address):
    kept, remedy = address, "Write a store."
    try:
        kept = store_address(address)
    except InvalidValue as error:
        remedy = error.remedy
    assert kept == address
    assert remedy.endswith(".")


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ("runs", "is a relative folder, which is another one on another machine"),
        ("../runs", "is a relative folder, which is another one on another machine"),
        ("~/runs", "is a relative folder, which is another one on another machine"),
        ("/nfs/runs", None),
        ("gs://b/runs", None),
    ],
)
def test_a_run_folder_is_the_same_on_both_machines(tmp_path, runs, message):
    found = problems_of(tmp_path, RUNS.format(runs))
    remedy = "Write its absolute path, the same on both machines."
    expected = (
        [] if message is None else [f"ftctl.yaml:1: machines.m.runs: {message}\n    {remedy}"]
    )
    assert found == expected


SECRET = (
    "holds a user or a password\n    Remove user and password from it, and export "
    "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD; or export the whole as "
    "MLFLOW_TRACKING_URI."
)
NO_ADDRESS = "is not an address\n    Write an address such as http://mlflow.internal:5000."


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("http://mlflow.internal:5000", None),
        ("sqlite:///mlflow.db", None),
        ("databricks://profile", None),
        ("runs/a@b", None),
        ("http://me@mlflow.internal", SECRET),
        ("postgresql://me:word@db/mlflow", SECRET),
        ("http://[mlflow", NO_ADDRESS),
        ("", "must not be empty"),
    ],
)
def test_an_address_of_mlflow_holds_no_secret(tmp_path, uri, said):
    found = problems_of(tmp_path, MLFLOW.format(uri))
    field = "tracking.mlflow.tracking_uri"
    assert [one.partition(f"{field}: ")[2] for one in found] == ([] if said is None else [said])


@pytest.mark.parametrize(
    ("address", "is_safe"),
    [
        ("https://api.nebius.example/v1", True),
        ("HTTPS://api.nebius.example", True),
        ("http://localhost:8000/v1", True),
        ("http://127.0.0.1", True),
        ("http://[::1]:80", True),
        ("http://127.0.0.1.example", False),
        ("http://localhost@evil.example", False),
        ("http://api.nebius.example", False),
        ("ftp://localhost", False),
        ("https://", False),
        ("localhost", False),
        ("https://[x", False),
    ],
)
def test_a_token_is_sent_where_nobody_reads_it(tmp_path, address, is_safe):
    assert is_safe_address(address) is is_safe
    refusal = (
        "ftctl.yaml:1: endpoints.e.deploy.base_url: a token would be sent there unprotected\n"
        "    Write an address that starts with https://, or one of this machine."
    )
    assert problems_of(tmp_path, DEPLOY.format(address)) == ([] if is_safe else [refusal])
