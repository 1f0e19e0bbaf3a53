"""Situations that a fine-tune can be in, one for each thing that a plan may say of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from backends.contract.jobs import Estimate, JobState, Progress
from controller.errors import Problem
from controller.lockfile.model import Entry, Lockfile
from controller.plan.actions import Blocked, BlockReason, Deferred
from controller.plan.desired import DataChange, Desired, Shutdown
from controller.plan.moving.move import Judges, Move
from controller.plan.observed import Lost, Observed
from controller.plan.plan import Plan, make_plan

PROGRESS = Progress(
    step=40, total_steps=96, loss=2.3101, held_out_loss=2.5, tokens_per_s=8123.4, eta_s=125
)


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What is declared, recorded and observed of one fine-tune."""

    desired: Desired | None = None
    entry: Entry | None = None
    observed: Observed = field(default_factory=Observed)
    unresolved: Deferred | Blocked | None = None


def old_build(make):
    old = make.desired(hyperparameters={"learning_rate": 1e-4, "chat_template": "chatml"}, seed=1)
    return make.build(old)


def train(make, name):
    desired = replace(
        make.desired(name, seed=2, backend="local-gpu", base_model="Qwen/Qwen3-0.6B"),
        estimate=Estimate(usd=(0.0, 0.0), steps=270),
        warnings=("12 held-out examples decide `accuracy >= 0.8` to within ±0.23",),
    )
    return Situation(desired=desired)


def retrain(make, name):
    old = old_build(make)
    desired = make.desired(
        name,
        facts=make.data(train="sha256:" + "9" * 64),
        hyperparameters={"learning_rate": 2e-4, "target_modules": ["q_proj", "v_proj"]},
        base_model="../models/아주-작은-모델",
        base="sha256:" + "8" * 64,
    )
    desired = replace(
        desired,
        data_changes={old.data.train.digest: DataChange(added=214, removed=3)},
        estimate=Estimate(usd=(3.1, 4.7), gpu_hours=(0.2, 0.35), steps=1234),
    )
    return Situation(desired=desired, entry=make.entry(old, production=old))


HOSTED = "ft:gpt-4o-mini-2024-07-18:acme:triage:AbC"


def moving(make, name, **changes):
    """Return what is known of a hosted fine-tune whose spec moved to this machine."""
    gate = "accuracy >= production.accuracy - 0.02 @ 95%"
    old = make.desired(
        name,
        backend="openai",
        base_model="gpt-4o-mini-2024-07-18",
        base="model:gpt-4o-mini-2024-07-18",
        hyperparameters={"n_epochs": 3},
    )
    build = make.build(old, model_id=HOSTED)
    settings = {"num_train_epochs": 3, "learning_rate": 0.00036}
    desired = make.desired(
        name,
        backend="local-gpu",
        base_model="Qwen/Qwen3-4B",
        base="hub:Qwen/Qwen3-4B@1",
        hyperparameters=settings,
        evaluation={"metrics": ["accuracy"], "compare_to": ["base", "production"]},
        gate=[gate],
        aliases=[HOSTED],
    )
    move = Move(
        build=build.fingerprint,
        model_id=HOSTED,
        old_place="openai",
        old_base="gpt-4o-mini-2024-07-18",
        new_place="local-gpu",
        new_base="Qwen/Qwen3-4B",
        hyperparameters=settings,
        gate=(gate,),
        judges=Judges(prompts=240, missing=0),
        paid=True,
    )
    end = Shutdown(date="2027-01-14", days_left=46, source="shutdown_date of default", model=HOSTED)
    return Situation(
        desired=replace(
            desired,
            move=replace(move, **changes),
            estimate=Estimate(usd=(0.0, 0.0), gpu_hours=(0.1, 0.2), steps=270),
        ),
        entry=make.entry(build, production=build),
        observed=Observed(shutdowns={name: end}),
    )


def move(make, name):
    return moving(make, name)


def move_implied(make, name):
    note = "72 held-out examples cannot show a margin of 0.02 at 95%, so luck may decide"
    judges = Judges(prompts=72, missing=30)
    return moving(make, name, implied=True, note=note, judges=judges)


def move_unjudged(make, name):
    unopened = "no endpoint is called 'eu'"
    return moving(make, name, judges=Judges(prompts=72, missing=72, unopened=unopened))


def reuse(make, name):
    desired, old = make.desired(name, seed=3), old_build(make)
    return Situation(desired=desired, entry=make.entry(make.build(desired), old, production=old))


def wait(make, name):
    desired = make.desired(name, seed=4)
    return Situation(
        desired=desired,
        entry=make.entry(job=make.open_job(desired, id="w")),
        observed=Observed(jobs={"w": make.job(desired, id="w", progress=PROGRESS)}),
    )


def evaluate(make, name):
    desired = make.desired(name, seed=5, evaluation={"metrics": ["accuracy"]})
    build = make.build(desired, evaluated=False)
    return Situation(desired=desired, entry=make.entry(build, candidate=build.fingerprint))


def judge(make, name):
    build = make.build(make.desired(name, seed=6))
    desired = make.desired(name, seed=6, gate=["held_out_loss < 1"])
    return Situation(desired=desired, entry=make.entry(build, production=build))


def promote(make, name):
    desired = make.desired(name, seed=7, gate=["held_out_loss < 2"])
    build = make.build(desired)
    return Situation(desired=desired, entry=make.entry(build, candidate=build.fingerprint))


def gate_failed(make, name):
    desired = make.desired(name, seed=8, gate=["held_out_loss < 1", "stop_rate > 0.5"])
    build, old = make.build(desired), old_build(make)
    entry = make.entry(build, old, candidate=build.fingerprint, production=old)
    return Situation(desired=desired, entry=entry)


def failed(make, name):
    desired = make.desired(name, seed=9)
    entry = make.entry(failures={desired.fingerprint: make.failure()})
    return Situation(desired=desired, entry=entry)


def adopt(make, name):
    desired = make.desired(name, seed=10)
    found = {desired.fingerprint: (make.job(desired, id="job-7"),)}
    return Situation(desired=desired, observed=Observed(found=found))


def record(make, name):
    desired = make.desired(name, seed=11)
    return Situation(
        desired=desired,
        entry=make.entry(job=make.open_job(desired, id="r")),
        observed=Observed(jobs={"r": make.job(desired, JobState.SUCCEEDED, id="r")}),
    )


def resume(make, name):
    desired = make.desired(name, seed=12)
    return Situation(
        desired=desired,
        entry=make.entry(job=make.open_job(desired, id="s")),
        observed=Observed(jobs={"s": make.job(desired, JobState.INTERRUPTED, id="s")}),
    )


def over_budget(make, name):
    return Situation(desired=make.desired(name, seed=13, budget={"max_usd": 1}))


def protect(make, name):
    desired = make.desired(name, seed=14, lifecycle={"protect": True})
    build = make.build(desired)
    return Situation(desired=desired, entry=make.entry(build, production=build))


def supersede(make, name):
    unwanted = make.desired(name, seed=16)
    job = make.open_job(unwanted, id="u", estimate_usd=(40.0, 80.0))
    return Situation(
        desired=make.desired(name, seed=15),
        entry=make.entry(job=job),
        observed=Observed(jobs={"u": make.job(unwanted, id="u")}),
    )


def retire(make, _name):
    old = old_build(make)
    return Situation(entry=make.entry(old, production=old))


def unpriced(make, name):
    return Situation(desired=replace(make.desired(name, seed=17), estimate=Estimate()))


def unread(make, name):
    old = old_build(make)
    deferred = Deferred(
        name=name,
        reason="data not read, known at apply: data.train[0]: FAQ_DATABASE_URL is not set",
        remedy="export FAQ_DATABASE_URL=postgresql://…",
    )
    return Situation(entry=make.entry(old, production=old), unresolved=deferred)


def restore(make, name):
    desired, old = make.desired(name, seed=18), old_build(make)
    lost = Lost(
        entry=make.entry(old, make.build(desired), production=old),
        source="finetunes/ftctl.lock of commit 1f24dc2a55b1",
    )
    return Situation(desired=desired, observed=Observed(lost={name: lost}))


def suspended(make, name):
    return Situation(desired=make.desired(name, seed=19, lifecycle={"suspend": True}))


def broken(make, name):
    old, file = old_build(make), f"finetunes/{name}.yaml"
    blocked = Blocked(
        name=name,
        reason="sed: is not a known key; and 1 more",
        remedy="Type `ftctl validate`.",
        block_reason=BlockReason.INPUT,
        problems=(
            Problem(
                file=file,
                line=3,
                field="sed",
                message="is not a known key",
                remedy="Did you mean `seed`?",
            ),
            Problem(
                file=file, line=7, field="gate[0]", message="acuracy is not measured", remedy=""
            ),
        ),
    )
    return Situation(entry=make.entry(old, production=old), unresolved=blocked)


SITUATIONS: Mapping[str, Callable[..., Situation]] = {
    function.__name__.replace("_", "-"): function
    for function in (
        train, retrain, reuse, wait, evaluate, judge, promote, gate_failed, failed, adopt, record,
        resume, over_budget, protect, supersede, retire, unpriced, unread, restore, suspended,
        broken, move, move_implied, move_unjudged,
    )
}  # fmt: skip


@dataclass(frozen=True)
class Planned:
    """A plan, and what it was made from."""

    plan: Plan
    desired: Mapping[str, Desired]
    lockfile: Lockfile
    jobs: Mapping


def plan_of(make, *names: str) -> Planned:
    """Plan fine-tunes in these situations, beside one that is as declared."""
    rest = make.desired("zz-as-declared", seed=99)
    build = make.build(rest)
    made = {name: SITUATIONS[name](make, name) for name in names}
    made["zz-as-declared"] = Situation(desired=rest, entry=make.entry(build, production=build))
    desired = {name: one.desired for name, one in made.items() if one.desired is not None}
    lockfile = Lockfile(
        finetunes={name: one.entry for name, one in made.items() if one.entry is not None}
    )
    observed = Observed(
        jobs={key: job for one in made.values() for key, job in one.observed.jobs.items()},
        found={key: jobs for one in made.values() for key, jobs in one.observed.found.items()},
        lost={key: lost for one in made.values() for key, lost in one.observed.lost.items()},
        shutdowns={
            key: end for one in made.values() for key, end in one.observed.shutdowns.items()
        },
    )
    unresolved = {name: one.unresolved for name, one in made.items() if one.unresolved}
    plan = make_plan(desired, lockfile, observed, 100.0, unresolved)
    return Planned(plan=plan, desired=desired, lockfile=lockfile, jobs=observed.jobs)
