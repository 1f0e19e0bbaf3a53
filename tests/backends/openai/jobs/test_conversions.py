"""Whatever a server answers, reading it ends in a record or in nothing, never in a crash."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.openai.api import error_messages, protocol
from backends.openai.jobs import conversions, job_matching, result_files
from backends.openai.jobs.create_call import expected_job
from tests.backends.openai.openai_helpers import write_request

FIELDS = st.sampled_from(
    [
        *("id", "status", "error", "model", "method", "metadata", "training_file", "seed", "type"),
        *("fine_tuned_model", "hyperparameters", "created_at", "finished_at", "trained_tokens"),
        *("user_provided_suffix", "message", "code", "data", "step", "total_steps", "train_loss"),
        *("valid_loss", "supervised", "filename", "bytes", "purpose", "has_more", "result_files"),
        *("ftctl_fingerprint", "ftctl_attempt", "fine_tuned_model_checkpoint", "step_number"),
    ]
)
WORDS = st.sampled_from(
    ["succeeded", "failed", "supervised", "metrics", "auto", "Example 3", "Flagged lines: 1, 99"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=6),
    max_leaves=12,
)
BODIES = st.dictionaries(FIELDS, JSON, max_size=12)


@pytest.fixture(scope="module")
def wanted(tmp_path_factory):
    return expected_job(write_request(tmp_path_factory.mktemp("data")), "openai")


@settings(max_examples=120, deadline=None)
@given(BODIES, BODIES)
def test_any_answer_can_be_read(wanted, body, other):
    conversions.to_job(body, origins=["a:1"] * 5)
    conversions.to_event(body)
    conversions.to_progress([body, other])
    conversions.to_checkpoints([body, other])
    error_messages.job_error(body, ["a:1"] * 5)
    job_matching.is_claimed(body, wanted)
    job_matching.is_likely_match(body, wanted, {"file-1"})
    job_matching.mismatch(body, wanted, other)
    job_matching.mismatch(body, wanted, None)
    job_matching.tag_of(body)
    page = {"data": [body | {"id": "x"}, other]} | body
    with suppress(protocol.OutcomeUnknown):
        list(protocol.read_pages(lambda _: page, 2))


@pytest.mark.parametrize(
    ("attempt", "key"),
    [
        ("1", ("ft1:a", 1)),
        (2, ("ft1:a", 2)),
        ("007", ("ft1:a", 7)),
        ("9" * 9, ("ft1:a", 999_999_999)),
        ("9" * 5000, None),
        ("-1", None),
        ("1.0", None),
        ("1\n", None),
        ("", None),
        ("\u0663", None),
        (None, None),
        (True, None),
    ],
)
def test_a_job_is_ours_only_with_an_attempt_that_is_a_number(attempt, key):
    job = {"id": "j", "metadata": {"ftctl_fingerprint": "ft1:a", "ftctl_attempt": attempt}}
    assert job_matching.key_of(job) == key
    assert conversions.to_job(job).attempt == (key or ("", 0))[1]


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=60) | st.binary(max_size=60).map(lambda raw: b"step,valid_loss\n" + raw))
def test_any_result_file_can_be_read(content):
    assert isinstance(result_files.result_metrics(content), dict)


@pytest.mark.parametrize(
    ("page", "cursor"),
    [
        ({"data": [{"id": "a"}, {"id": "b"}], "has_more": True}, "b"),
        ({"data": [{"id": "a"}, {"id": "b"}], "has_more": False}, None),
        ({"data": [{"id": "a"}, {"id": "b"}]}, "b"),
        ({"data": [{"id": "a"}]}, None),
        ({"data": [], "has_more": True}, None),
        ({"data": [{}], "has_more": True}, None),
    ],
)
def test_following_a_list(page, cursor):
    assert protocol.next_cursor(page, 2) == cursor


def test_a_list_that_repeats_itself_ends():
    page = {"data": [{"id": "a"}, {"id": "b"}], "has_more": True}
    assert list(protocol.read_pages(lambda _: page, 2)) == page["data"] * 2
