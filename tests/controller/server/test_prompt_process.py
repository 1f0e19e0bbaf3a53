"""`method: prompt` with a real model: recorded, measured, served, and prompted again from elsewhere."""

import pytest

from controller.cli import run
from controller.lockfile.store import read_lockfile
from tests.controller.server.serve_helpers import BASE, TOKEN, process
from tests.tiny_base import make_base

OLD = "ft:gpt-4o-mini-2024-07-18:acme:faq:AbC"
ROWS = "question,answer\n" + "".join(f"문의 {n}번?,답 {n}.\n" for n in range(40))
DATA = """\
data:
  train: [{path: data/faq.csv, columns: {user: question, assistant: answer}}]
  held_out: {fraction: 0.25}
evaluation: {metrics: [exact_match], max_tokens: 8}
"""
LOCAL = f"""\
backend: local-gpu
base_model: ../models/{BASE}
method: prompt
aliases: ["{OLD}"]
prompt: {{system: 카페 직원처럼 답하세요., few_shot: 2}}
gate: []
{DATA}"""
REMOTE = """\
backend: openai
endpoint: own
method: prompt
"""


def repository(root):
    (root / "finetunes/data").mkdir(parents=True)
    (root / "finetunes/data/faq.csv").write_text(ROWS)
    return root


def apply(root, capsys):
    code = run(["--dir", str(root), "apply", "--auto-approve"])
    assert code == 0, capsys.readouterr()
    return read_lockfile(root, root / ".ftctl").finetunes


def build_of(entry):
    return entry.builds[entry.production]


@pytest.mark.slow
@pytest.mark.torch
def test_a_prompted_base_model_is_served_under_the_old_name(
    tmp_path, monkeypatch, warm_python, capsys
):
    monkeypatch.setenv("PYTHON_OF_CHILDREN", warm_python)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    monkeypatch.setenv("FTCTL_SERVE_TOKEN", TOKEN)
    here, there = repository(tmp_path / "here"), repository(tmp_path / "there")
    make_base(here / "models" / BASE, max_position_embeddings=1024)
    (here / "ftctl.yaml").write_text(f"serve: {{base_models: [../models/{BASE}]}}\n")
    (here / "finetunes/faq.yaml").write_text(LOCAL)
    local = build_of(apply(here, capsys)["faq"])
    assert local.evaluation.scores["candidate"]["held_out_loss"] > 0
    assert (
        local.evaluation.scores["candidate"]["held_out_loss"]
        != local.evaluation.scores["base"]["held_out_loss"]
    )
    with process(here) as (_, greeting, client):
        assert f"Alias: {OLD} -> faq" in greeting
        question = {"messages": [{"role": "user", "content": "문의 3번?"}], "max_tokens": 8}
        create = client.chat.completions.create
        answers = {
            name: create(model=name, temperature=0, **question) for name in (OLD, "faq", BASE)
        }
        assert answers[OLD].model == answers["faq"].model == local.model_id
        # The prompt and the examples were read before the question.
        longer = answers[OLD].usage.prompt_tokens - answers[BASE].usage.prompt_tokens
        assert longer == local.facts["prompt_tokens"]
        endpoint = (
            f"{{kind: compatible, base_url: '{client.base_url}', api_key_env: FTCTL_SERVE_TOKEN}}"
        )
        (there / "ftctl.yaml").write_text(f"endpoints: {{own: {endpoint}}}\n")
        prompt = f"{REMOTE}base_model: {BASE}\nprompt: {{system: 카페 직원처럼 답하세요., few_shot: 2}}\n"
        (there / "finetunes/faq.yaml").write_text(prompt + DATA)
        (there / "finetunes/old.yaml").write_text(f'{REMOTE}base_model: "{OLD}"\n')
        remote = apply(there, capsys)
        # Chosen in the other repository, the examples are the same ones.
        digest = "examples_digest"
        assert build_of(remote["faq"]).facts[digest] == local.facts[digest]
        assert build_of(remote["old"]).evaluation is None
        capsys.readouterr()
        run(["--dir", str(there), "chat", "old", "-m", "문의 3번?", "--max-tokens", "8"])
        assert capsys.readouterr().out.strip() == answers[OLD].choices[0].message.content.strip()
