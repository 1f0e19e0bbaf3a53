"""`ftctl.yaml`: optional, strict, with lines and remedies."""

import pytest

from backends.contract.errors import BackendError
from controller.errors import InvalidInput
from controller.spec.settings import (
    Settings,
    decided_by,
    endpoint_of,
    known_endpoints,
    load_settings,
    public_id,
)


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
    own = endpoint_of(settings, tmp_path, "own")
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
                "    Use one of: budget, endpoints, lockfile, machines, policies, serve, store, tracking."
            ),
        ),
        (
            "serve:\n  base_model: [a]",
            "ftctl.yaml:2: serve.base_model: is not a known key\n    Did you mean `base_models`?",
        ),
        (
            "serve:\n  shutdown_dates: {small: 14 January}",
            (
                "ftctl.yaml:2: serve.shutdown_dates.small: '14 January' is not a day\n"
                "    Write it as YYYY-MM-DD."
            ),
        ),
        (
            "endpoints:\n  own:\n    bas_url: x",
            "ftctl.yaml:3: endpoints.own.bas_url: is not a known key\n    Did you mean `base_url`?",
        ),
        (
            "endpoints:\n  own:\n    kind: open",
            (
                "ftctl.yaml:3: endpoints.own.kind: must be one of azure, compatible, crusoe, "
                "fireworks, nebius, openai, not the text 'open'\n    Did you mean `openai`?"
            ),
        ),
        (
            "endpoints:\n  own:\n    prices: {m: -5}",
            "ftctl.yaml:3: endpoints.own.prices.m: must be at least 0, not -5",
        ),
        (
            "endpoints:\n  own:\n    prices: {m: 1e300}",
            "ftctl.yaml:3: endpoints.own.prices.m: must be at most 1000000000, not 1e+300",
        ),
        (
            "endpoints:\n  own:\n    answer_prices: {m: {input: 1e10, output: 0}}",
            "ftctl.yaml:3: endpoints.own.answer_prices.m.input: must be at most 1000000000, not 10000000000.0",
        ),
        (
            "endpoints:\n  own:\n    deploy: {usd_per_hour: 1e300}",
            "ftctl.yaml:3: endpoints.own.deploy.usd_per_hour: must be at most 1000000000, not 1e+300",
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


ENDPOINTS = "endpoints: {eu: {kind: azure, base_url: https://eu.example/v1}}\n"


@pytest.mark.parametrize("name", ["", "default"])
def test_the_default_endpoint_needs_no_settings(tmp_path, name):
    found = endpoint_of(load_settings(tmp_path), tmp_path, name)
    assert (found.name, found.kind, found.base_url) == ("default", "openai", None)
    assert found.api_key_env == "OPENAI_API_KEY"


def test_the_default_endpoint_may_be_set(tmp_path):
    write(tmp_path, "endpoints: {default: {api_key_env: TEAM_KEY}}")
    assert endpoint_of(load_settings(tmp_path), tmp_path, "").api_key_env == "TEAM_KEY"


@pytest.mark.parametrize("name", ["us", "서울", "x" * 500])
def test_an_unknown_endpoint_is_named_with_those_that_are_known(tmp_path, name):
    write(tmp_path, ENDPOINTS)
    with pytest.raises(BackendError, match="no endpoint is called") as caught:
        endpoint_of(load_settings(tmp_path), tmp_path, name)
    assert caught.value.remedy.startswith("Use one of: default, eu. Add others to ftctl.yaml: ")
    assert len(str(caught.value)) + len(caught.value.remedy) < 400


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (ENDPOINTS, ["eu"]),
        (ENDPOINTS + "serve: {base_model: [a]}\n", ["eu"]),
        ("serve: {}\n", []),
        ("endpoints: {eu: {kind: open}}\n", None),
        ("- a list\n", None),
        ("endpoints: [\n", None),
        (None, None),
    ],
)
def test_endpoints_are_read_where_the_rest_is_wrong(tmp_path, text, names):
    if text is not None:
        write(tmp_path, text)
    found = known_endpoints(tmp_path)
    assert (found and list(found.endpoints)) == names


def test_approvals_depend_on_budget_and_servers_alone(tmp_path):
    plain = decided_by(Settings())
    assert plain == "bc807b488735379f9bb83f4562e7c62456dddb0e19e8ad6d2b137710c10910e2"
    for text, is_decisive in [
        ("budget: {max_usd: 5}", True),
        (ENDPOINTS, True),
        ("policies: {require_license: true}", False),
        ("serve: {base_models: [acme/base]}", False),
    ]:
        assert (decided_by(load_settings(write(tmp_path, text))) != plain) is is_decisive


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("acme/base", "acme/base"),
        ("../models/작은", "작은"),
        ("./a/b/", "b"),
        ("/srv/base", "base"),
    ],
)
def test_clients_call_a_base_model_by_its_folder_or_hub_id(written, name):
    assert public_id(written) == name


def test_a_settings_file_that_leads_out_of_the_repository_is_not_read(tmp_path):
    root = tmp_path / "repository"
    root.mkdir()
    (tmp_path / "secret.yaml").write_text("budget: {max_usd: 1}")
    (root / "ftctl.yaml").symlink_to("../secret.yaml")
    (problem,) = problems_of(root)
    assert problem.startswith("ftctl.yaml: ")
    assert known_endpoints(root) is None
