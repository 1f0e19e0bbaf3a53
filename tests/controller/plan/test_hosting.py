"""Deployments that cost by the hour: what a plan says of them, and which nobody needs."""

import pytest

from backends.contract.deployments import Deployment, DeploymentState, Hosting
from controller.lockfile.model import Lockfile
from controller.plan.hosting import (
    FACT,
    billed,
    hosting_notes,
    hosting_origin,
    per_hour,
    recorded_deployment,
    to_fact,
)

PLACE = ("scripted", "model-1")


@pytest.mark.parametrize(
    ("usd", "text"),
    [
        (1.7, "$1.70 per hour, used or not, until you delete the deployment"),
        (1234.5, "$1,234.50 per hour, used or not, until you delete the deployment"),
        (0.004, "$0.0040 per hour, used or not, until you delete the deployment"),
        (0.0, "nothing by the hour; requests are billed by token"),
        (
            None,
            "not known by the hour; write `usd_per_hour` into `deploy` of the endpoint in ftctl.yaml",
        ),
    ],
)
def test_a_price_by_the_hour_tells_how_long_it_is_paid(usd, text):
    assert per_hour(usd) == text


def made(name="ftctl-faq", state=DeploymentState.READY):
    return Deployment(name=name, state=state)


@pytest.mark.parametrize("usd", [1.7, 0, None])
def test_a_build_keeps_the_deployment_with_the_price_that_was_approved(make, usd):
    fact = to_fact(made(), usd, "2026-11-20T09:00:00Z")
    assert fact == {"name": "ftctl-faq", "usd_per_hour": usd, "since": "2026-11-20T09:00:00Z"}
    found = recorded_deployment(make.build(make.desired(), facts={FACT: fact}))
    assert (found.name, found.usd_per_hour) == ("ftctl-faq", usd)
    price = {1.7: "$1.70", 0: "$0.00", None: "at an unknown price"}[usd]
    assert str(found) == f"ftctl-faq, {price} per hour"
    assert hosting_origin(Hosting(usd_per_hour=usd)) == {"hosting": {"usd_per_hour": usd}}


@pytest.mark.parametrize(
    ("fact", "usd"),
    [
        ({"name": "d", "usd_per_hour": True}, None),
        ({"name": "d", "usd_per_hour": "1.7"}, None),
        ({"name": "d"}, None),
        ({"name": "d", "usd_per_hour": 2}, 2.0),
    ],
)
def test_a_price_that_is_no_number_is_unknown(make, fact, usd):
    found = recorded_deployment(make.build(make.desired(), facts={FACT: fact}))
    assert found.usd_per_hour == usd
    assert usd is None or type(found.usd_per_hour) is float


@pytest.mark.parametrize("facts", [{}, {FACT: None}, {FACT: "d"}, {FACT: {"name": 1}}, {FACT: {}}])
def test_without_a_name_there_is_no_deployment(make, facts):
    assert recorded_deployment(make.build(make.desired(), facts=facts)) is None


def builds(make, *prices):
    """Return builds of different inputs with deployments at these prices; "" for none."""
    found = []
    for seed, usd in enumerate(prices):
        facts = {} if usd == "" else {FACT: {"name": f"d{seed}", "usd_per_hour": usd}}
        found.append(make.build(make.desired(seed=seed), facts=facts, model_id=f"model-{seed}"))
    return found


def test_only_what_costs_by_the_hour_or_may_is_billed(make):
    entry = make.entry(*builds(make, 1.7, 0, None, ""))
    assert [one.name for one in billed(entry)] == ["d0", "d2"]


def notes(make, entry, *, wanted=99, observed=None, declared=True):
    desired = {"faq": make.desired(seed=wanted)} if declared else {}
    found = hosting_notes(desired, Lockfile(finetunes={"faq": entry}), observed or {})
    return [text.partition(" is not in use")[0].rpartition(" ")[2] for text in found]


def digits(build):
    return build.fingerprint.partition(":")[2][:12]


def test_a_deployment_of_no_build_in_use_is_named_with_its_price(make):
    [old, live] = builds(make, 1.7, 1.7)
    entry = make.entry(old, live, production=live)
    [text] = hosting_notes({"faq": make.desired(seed=1)}, Lockfile(finetunes={"faq": entry}), {})
    assert text == (
        f"faq: build {digits(old)} is not in use, and its deployment at scripted still costs: "
        "d0, $1.70 per hour. ftctl deletes no deployment: delete it there."
    )


def test_builds_in_use_and_deployments_that_cost_nothing_are_not_named(make):
    [a, b, c, d, e] = builds(make, 1.7, 1.7, 0, "", None)
    entry = make.entry(a, b, c, d, e, production=a, candidate=b.fingerprint)
    assert notes(make, entry) == [digits(e)]
    assert notes(make, entry, wanted=4) == []
    assert notes(make, make.entry(a, b, e), wanted=4) == [digits(a), digits(b)]
    # Where the spec is gone, the removal itself names them.
    assert notes(make, entry, declared=False) == []


@pytest.mark.parametrize("state", list(DeploymentState))
def test_a_deployment_that_is_gone_at_the_service_is_not_named(make, state):
    [old] = builds(make, 1.7)
    observed = {("scripted", old.model_id): made("d0", state)}
    expected = [] if state is DeploymentState.MISSING else [digits(old)]
    assert notes(make, make.entry(old), observed=observed) == expected
    elsewhere = {("scripted", "another"): made("d0", DeploymentState.MISSING)}
    assert notes(make, make.entry(old), observed=elsewhere) == [digits(old)]
