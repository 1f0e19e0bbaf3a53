"""Data of adopted models: copied from the service, kept where a person has it, declared where it is gone."""

import re

from tests.controller.adopt.adopted_files import NO_CHANGES, build_of, data, spec, written
from tests.controller.adopt.hosted_service import BASE, rows


def test_a_model_that_ends_after_it_was_adopted_is_shown_as_gone(shell, service):
    job = service.train("triage")
    assert shell("adopt", "--all")[0] == 0
    (row,) = shell.json("adopt")[1]["models"]
    assert (row["state"], row["adopted"]) == ("adopted", True)
    del service.models[job["fine_tuned_model"]]

    (row,) = shell.json("adopt")[1]["models"]

    assert row["state"] == "adopted, gone"
    code, text = shell("adopt", "--all")
    assert code == 0
    assert "is recorded already" in text


def test_a_file_that_a_person_has_stands_for_one_that_is_gone(shell, service):
    job = service.train("triage")
    service.forget_file(job["training_file"])
    shell.write("finetunes/data/triage.jsonl", rows(30))

    code, text = shell("adopt", job["id"])

    assert code == 0, text
    assert "does not have the file file-0000" in text
    assert "The service does not give its file file-0000 any more." in text
    assert "is taken in its place, as declared" in text
    assert (
        "data/triage.jsonl was put there by a person"
        in build_of(shell, "triage").facts["adopted"]["declared"]
    )
    assert NO_CHANGES in shell("plan")[1]


def test_a_validation_file_that_overlaps_training_is_told(shell, service):
    service.train("triage", rows(40), rows(12, 35))

    code, text = shell("adopt", "--all")

    assert code == 0
    assert "5 of 12 rows of the validation file are training rows too." in text
    assert "Examples: 35 for training, 12 held out." in text
    assert "5 rows are equal to earlier ones and are left out" in text
    assert NO_CHANGES in shell("plan")[1]


def test_a_training_file_of_ten_rows_is_held_out_as_a_whole(shell, service):
    service.train("triage", rows(10))

    code, text = shell("adopt", "--all")

    assert code == 0, text
    assert "Scores flatter every model" in " ".join(spec(shell, "triage").split()).replace("# ", "")
    assert "Examples: 10 for training, 10 held out." in text
    assert NO_CHANGES in shell("plan")[1]


def test_data_that_the_pipeline_refuses_leaves_nothing_half_written(shell, service):
    bad = rows(20) + b'{"messages": [{"role": "user"}]}\n' + b"not json\n"
    model = service.train("triage", bad)["fine_tuned_model"]

    code, text = shell("adopt", "--all")

    assert code == 1
    assert "finetunes/data/triage.jsonl:21: the user's message has no content" in text
    assert "unusable: drop" in text
    assert written(shell) == set()
    # A spec by hand, as the message says, adopts it all the same; nothing is downloaded again.
    shell.write(
        "finetunes/triage.yaml",
        f"aliases: ['{model}']\nbackend: openai\nbase_model: {BASE}\nseed: 7\n"
        "data: {train: [{path: data/triage.jsonl, unusable: drop}], held_out: {fraction: 0.2}}\n"
        "hyperparameters: {n_epochs: 3, batch_size: 1, learning_rate_multiplier: 1.8}\n",
    )
    code, text = shell("adopt", "--all")
    assert code == 0, text
    assert len(service.downloads) == 1
    assert NO_CHANGES in shell("plan")[1]


def test_a_policy_of_the_repository_is_kept(shell, service):
    service.train("triage")
    shell.write("ftctl.yaml", "policies: {require_license: true}\n")

    code, text = shell("adopt", "--all")

    assert code == 1
    assert "policies.require_license demands one" in text
    assert written(shell) == set()


def test_a_spec_that_a_person_changed_keeps_its_data(shell, service):
    job = service.train("triage")
    assert shell("adopt", job["id"])[0] == 0
    (shell.root / "finetunes/ftctl.lock").unlink()
    (shell.root / "finetunes/triage.yaml").rename(shell.root / "finetunes/tickets.yaml")
    shell.write("finetunes/data/triage.jsonl", rows(30))

    code, text = shell("adopt", job["id"])

    assert code == 0, text
    assert "finetunes/data/triage.jsonl is not the service's file file-0000 any more." in text
    assert written(shell) == {"ftctl.lock", "tickets.yaml", "data/triage.jsonl"}
    assert data(shell, "triage") == rows(30)
    assert NO_CHANGES in shell("plan")[1]


def test_a_spec_with_several_sources_gets_no_file(shell, service):
    job = service.train("triage")
    assert shell("adopt", job["id"])[0] == 0
    (shell.root / "finetunes/ftctl.lock").unlink()
    text = spec(shell, "triage").replace("data/triage.jsonl", "'data/*.jsonl'")
    shell.write("finetunes/triage.yaml", text)

    code, said = shell("adopt", job["id"])

    assert code == 0, said
    assert written(shell) == {"ftctl.lock", "triage.yaml", "data/triage.jsonl"}
    assert "the sources of the spec was put there" not in said
    assert NO_CHANGES in shell("plan")[1]


def test_a_model_whose_training_file_is_gone_is_declared_as_it_is(shell, service, golden):
    job = service.train("triage", rows(40), rows(12, 60))
    service.forget_file(job["training_file"])

    code, text = shell("adopt", job["id"])
    golden("render/adopt-without-data.txt", re.sub(r":\d+/v1", ":PORT/v1", text))
    golden("render/adopt-without-data.yaml", spec(shell, "triage"))

    assert code == 0, text
    build = build_of(shell, "triage")
    assert build.prompt is not None
    assert (build.model_id, build.base_model) == (job["fine_tuned_model"],) * 2
    assert "the training data is gone: nothing is known of it" in build.facts["adopted"]["declared"]
    assert NO_CHANGES in shell("plan")[1]
    # Measured like every other, without a job.
    service.answer = lambda _: "예약"
    asks = "evaluation: {metrics: [accuracy], compare_to: []}\n"
    shell.write("finetunes/triage.yaml", spec(shell, "triage") + asks)
    assert shell("apply", "--auto-approve")[0] == 0
    assert build_of(shell, "triage").evaluation.scores["candidate"]["accuracy"] > 0
    assert NO_CHANGES in shell("plan")[1]
    assert "예약" in shell("chat", job["fine_tuned_model"], "-m", "예약되나요?")[1]
    assert not [path for _, path in service.changes if "chat" not in path]


def test_a_model_of_which_nothing_is_left_is_recorded_all_the_same(shell, service):
    orphan = f"ft:{BASE}:acme:orphan:Zz9"
    service.models[orphan] = {"id": orphan, "owned_by": "acme", "created": 1_770_000_000}

    code, text = shell("adopt", "--all")

    assert code == 0, text
    assert "put the file at finetunes/data/orphan.jsonl" in text
    assert written(shell) == {"ftctl.lock", "orphan.yaml"}
    assert NO_CHANGES in shell("plan")[1]
    assert shell("model", "orphan")[1].strip() == orphan
    assert shell("status")[0] == shell("show", "orphan")[0] == 0


def test_data_that_is_found_later_makes_it_trainable(shell, service):
    job = service.train("triage")
    service.forget_file(job["training_file"])
    assert shell("adopt", job["id"])[0] == 0
    shell.write("finetunes/data/triage.jsonl", rows(40))
    (shell.root / "finetunes/triage.yaml").unlink()

    code, text = shell("adopt", job["id"])

    assert code == 0, text
    assert "method: prompt" not in spec(shell, "triage")
    build = build_of(shell, "triage")
    assert build.prompt is None
    assert build.model_id == job["fine_tuned_model"]
    assert NO_CHANGES in shell("plan")[1]
    assert service.changes == []


def test_files_of_two_services_with_one_id_are_two_files(shell, service):
    other = type(service)()
    try:
        service.train("triage", data=b"not JSON\n")
        other.train("triage", data=rows(30, 500))
        shell.write(
            "ftctl.yaml",
            f"endpoints: {{other: {{kind: openai, base_url: '{other.url}', "
            "api_key_env: OPENAI_API_KEY}}\n",
        )
        # The first service's file waits, since its rows are no examples.
        assert shell("adopt", "--all")[0] == 1
        code, text = shell("adopt", "--all", "--endpoint", "other")
        assert code == 0, text
        assert data(shell, "triage") == rows(30, 500)
    finally:
        other.close()
