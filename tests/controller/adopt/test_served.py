"""Fine-tunes at `ftctl serve`, made with the official SDK, adopted into another repository."""

from tests.controller.server.serve_helpers import BASE, TOKEN, lines, serving, until, upload


def test_twelve_models_of_a_server_of_ftctl_are_adopted(shell, tmp_path, monkeypatch):
    (tmp_path / "service").mkdir()
    with serving(tmp_path / "service") as server:
        made = {}
        for number in range(12):
            name = f"model-{number}"
            job = server.client.fine_tuning.jobs.create(
                model=BASE,
                training_file=upload(server.client, lines(40, 100 * number)).id,
                validation_file=upload(server.client, lines(10, 100 * number + 50)).id,
                suffix=name,
                seed=number,
                method={
                    "type": "supervised",
                    "supervised": {"hyperparameters": {"n_epochs": 2}},
                },
            )
            made[name] = job.id
        models = {
            name: until(server.client, job_id, "succeeded").fine_tuned_model
            for name, job_id in made.items()
        }
        monkeypatch.setenv("SERVE_KEY", TOKEN)
        shell.write(
            "ftctl.yaml",
            f"endpoints: {{old: {{kind: compatible, base_url: '{server.url}', "
            "api_key_env: SERVE_KEY}}",
        )
        jobs = [job.id for job in server.client.fine_tuning.jobs.list(limit=100)]

        listed = shell.json("adopt", "--endpoint", "old")[1]["models"]
        code, text = shell("adopt", "--all", "--endpoint", "old")

        assert code == 0, text
        assert {row["name"]: row["model_id"] for row in listed if row["job_id"]} == models
        assert "12 models adopted." in text
        for number, name in enumerate(made):
            spec = (shell.root / f"finetunes/{name}.yaml").read_text()
            assert f"base_model: {BASE}" in spec
            assert f"seed: {number}" in spec
            assert models[name] in spec
            data = shell.root / "finetunes/data"
            assert (data / f"{name}.jsonl").read_bytes() == lines(40, 100 * number)
            assert (data / f"{name}.held-out.jsonl").read_bytes() == lines(10, 100 * number + 50)
        code, plan = shell("plan")
        assert (code, plan.splitlines()[0]) == (
            0,
            "No changes. All 12 fine-tunes match their specs.",
        )
        assert [job.id for job in server.client.fine_tuning.jobs.list(limit=100)] == jobs
