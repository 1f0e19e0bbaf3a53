"""`ftctl.yaml`: optional, strict, with lines and remedies."""

import pytest

from controller.errors import InvalidInput
from controller.spec.settings import Settings, find_endpoint, load_settings, public_id


def write(root, text):
    (root / "ftctl.yaml").write_text(text, encoding="utf-8")
    return root


def problems_of(root):
    with pytest.raises(InvalidInput) as caught:
        load_settings(root)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize("text", [None, "", "# nothing said yet\n"])
def test_everything_works_without_settings(tmp_path, text):
    if text is not None:
        write(tmp_path, text)
    assert load_settings(tmp_path) == Settings()


def test_endpoints_and_base_models_are_read(tmp_path):
    text = """
endpoints:
  own: {kind: compatible, base_url: "http://127.0.0.1:8000/v1", api_key_env: FTCTL_SERVE_TOKEN}
serve:
  base_models: [../models/small-ko, Qwen/Qwen3-0.6B]
"""
    settings = load_settings(write(tmp_path, text))
    own = find_endpoint(tmp_path, "own")
    assert (own.kind, own.api_key_env) == ("compatible", "FTCTL_SERVE_TOKEN")
    assert own.env_file == tmp_path / ".env"
    names = [public_id(written) for written in settings.serve.base_models]
    assert names == ["small-ko", "Qwen/Qwen3-0.6B"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "<<: {serve: {}}",
            (
                "ftctl.yaml:1: <<: merges keys in YAML 1.1; YAML 1.2 has no merging\n"
                "    Write the keys out."
            ),
        ),
        (
            "<x>: 1",
            (
                "ftctl.yaml:1: <x>: is not a known key\n"
                "    Use one of: budget, endpoints, policies, serve."
            ),
        ),
        (
            "serve:\n  base_model: [a]",
            "ftctl.yaml:2: serve.base_model: is not a known key\n    Did you mean `base_models`?",
        ),
        (
            "endpoints:\n  own:\n    bas_url: x",
            "ftctl.yaml:3: endpoints.own.bas_url: is not a known key\n    Did you mean `base_url`?",
        ),
        (
            "endpoints:\n  own:\n    kind: open",
            (
                "ftctl.yaml:3: endpoints.own.kind: must be one of openai, azure, compatible, "
                "not the text 'open'\n    Did you mean `openai`?"
            ),
        ),
        (
            "serve:\n  base_models: [../a/small, ./small]",
            (
                "ftctl.yaml:2: serve.base_models: two base models would be called 'small'\n"
                "    Keep one of them, or rename a folder."
            ),
        ),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path, text, expected):
    assert problems_of(write(tmp_path, text)) == [expected]
