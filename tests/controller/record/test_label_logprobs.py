"""Log-probabilities of labels, which are asked for with the answers."""

from tests.controller.record.recorded import TRAIN, answers_in, asked_by
from tests.servers.hosted_service import LABELS, rows


def test_log_probabilities_of_labels_are_kept_beside_the_answers(hosted):
    hosted.train()
    assert hosted.shell("record", "triage", "--yes")[0] == 0
    asked = [body for body in hosted.chats() if body.get("logprobs")]
    assert len(asked) == TRAIN
    assert {body["top_logprobs"] for body in asked} == {20}
    kept = answers_in(hosted.files()[0])
    # Answers that were kept before are not asked for again.
    assert sum("logprobs" in line for line in kept) == TRAIN
    (token,) = next(line["logprobs"] for line in kept if "logprobs" in line)
    assert token["token"] in LABELS
    assert token["logprob"] == -0.0123
    assert token["top"][0] == [token["token"], -0.0123]
    # A part of a Korean character has no text, so its bytes are kept.
    assert token["top"][1][2] == list(token["token"].encode()[:2])


def test_answers_that_are_no_labels_have_no_log_probabilities(hosted):
    hosted.train(metrics="exact_match", gate='"exact_match >= 0.5"')
    code, _, asked = asked_by(hosted, "record", "triage", "--yes")
    assert code == 0
    assert len(asked) == TRAIN
    assert not any("logprobs" in body or "top_logprobs" in body for body in asked)


def test_without_metrics_the_expected_answers_tell_if_they_are_labels(hosted):
    hosted.train(metrics="", gate="")
    code, _, asked = asked_by(hosted, "record", "triage", "--yes")
    assert code == 0
    assert sum("logprobs" in body for body in asked) == len(asked) == TRAIN

    lines = rows(40).splitlines(keepends=True)
    texts = [line.replace(LABELS[n % 3], f"답변 {n}") for n, line in enumerate(lines)]
    # Other questions: a changed label alone would ask nobody again.
    texts = [line.replace('"content": "', '"content": "다시: ', 1) for line in texts]
    hosted.shell.write("finetunes/data/triage.jsonl", "".join(texts))
    asked = asked_by(hosted, "record", "triage", "--yes")[2]
    assert asked
    assert not any("logprobs" in body for body in asked)


def test_a_service_that_refuses_log_probabilities_is_asked_without(hosted):
    hosted.train()
    hosted.hosted.gives_logprobs = False
    code, text, asked = asked_by(hosted, "record", "triage", "--yes")
    assert code == 0, text
    refused = [body for body in asked if body.get("logprobs")]
    # Those under way at the first refusal, at most; a refusal costs nothing.
    assert 1 <= len(refused) <= TRAIN
    assert len(asked) - len(refused) == TRAIN
    assert "33 answers; " in text
    assert all("logprobs" not in line for line in answers_in(hosted.files()[0]))
    assert asked_by(hosted, "record", "triage", "--yes")[2] == []
