"""Judges asked about kept answers: who is asked what, how often, and what counts."""

from collections import Counter

import pytest

from backends.contract.completions import Completed, Completion, Prompt, text_of
from backends.contract.errors import BackendError, BaseModelMissing, PromptRefused
from backends.contract.jobs import BaseModel
from backends.testing import ScriptedBackend
from controller.evaluate.answer_file import AnswerFile, prompt_key
from controller.evaluate.answer_store import AnswerStore
from controller.evaluate.ask import KeptAnswers, key_of
from controller.evaluate.compare import EvaluatedModel
from controller.evaluate.opinions.ask_judges import JudgeContext, ask_judges, missing_opinions
from controller.spec.evaluation import Evaluation

BASE = BaseModel(reference="acme/base", revision="1", identity="scripted:acme/base@1")
RUBRIC = {"model": "court", "rubric": "친절"}
PAIRS = {"model": "court", "rubric": "친절", "against": "base"}
PROMPTS = [
    Prompt(
        messages=[{"role": "user", "content": f"질문 {number} \u2028\n{{}}"}],
        reference={"role": "assistant", "content": f"답 {number}"},
    )
    for number in range(4)
]


def model(role: str) -> EvaluatedModel:
    return EvaluatedModel(
        role=role, place="scripted", base_model=BASE, model_id=None, identity=role
    )


def metrics_of(*settings: dict):
    written = [{"judge": one} for one in settings]
    return Evaluation.model_validate({"metrics": [*written, "exact_match"]}).metrics


class Court:
    """A judge with a script, the answers that it judges, and what it heard."""

    def __init__(self, tmp_path, says, backend=ScriptedBackend, **answers: list[str]):
        self.models = [model(role) for role in answers]
        self.heard: list[str] = []
        self.opened: list[str] = []
        folder = tmp_path / "answers"
        for one in self.models:
            file = AnswerFile(folder, key_of(one))
            for prompt, text in zip(PROMPTS, answers[one.role], strict=False):
                file.append(prompt_key(prompt), Completion(text=text, finish_reason="stop"))

        def answer(_model, prompt):
            self.heard.append(text_of(prompt.messages[-1]))
            said = says(self.heard[-1])
            return (
                said
                if isinstance(said, Completion)
                else Completion(text=said, finish_reason="stop")
            )

        self.backend = backend(tmp_path / "state", answer=answer)
        self.folder, self.root = folder, tmp_path

    def context(self) -> JudgeContext:
        def opened(place):
            self.opened.append(place)
            return self.backend

        return JudgeContext(root=self.root, place="scripted", open_backend=opened)

    def kept(self) -> KeptAnswers:
        return KeptAnswers(store=AnswerStore(self.folder), prompts=PROMPTS)

    def ask(self, *settings):
        return ask_judges(metrics_of(*settings), self.models, self.kept(), self.context())

    def missing(self, *settings):
        return missing_opinions(metrics_of(*settings), self.models, self.kept(), self.context())


GOOD = ["좋은 0", "좋은 1", "좋은 2", "좋은 3"]
POOR = ["나쁜 0", "나쁜 1", "나쁜 2", "나쁜 3"]


def by_words(text: str) -> str:
    return "Score: 5" if "좋은" in text else "Score: 2"


def test_each_answer_is_judged_in_its_place_and_equal_answers_once(tmp_path):
    court = Court(tmp_path, by_words, candidate=GOOD, base=[GOOD[0], *POOR[1:]])
    found = court.ask(RUBRIC)
    assert found.tallies == {
        "candidate": {"judge": [(5, 1)] * 4},
        "base": {"judge": [(5, 1), (2, 1), (2, 1), (2, 1)]},
    }
    assert found.remarks == ()
    assert max(Counter(court.heard).values()) == 1
    assert len(court.heard) == 7
    for number, text in enumerate(court.heard[:4]):
        assert f"user: 질문 {number} \u2028\n{{}}\n" in text
        assert f"\n답 {number}\n" in text
    assert not any(word in "".join(court.heard) for word in ("candidate", "base", "acme"))


def test_a_judge_is_asked_once_for_each_way_of_asking(tmp_path):
    court = Court(tmp_path, by_words, candidate=GOOD)
    court.ask(RUBRIC)
    court.ask(RUBRIC)
    assert len(court.heard) == 4
    court.ask(RUBRIC | {"rubric": "정확"})
    assert len(court.heard) == 8
    court.ask(RUBRIC | {"model": "another"})
    assert len(court.heard) == 12
    court.ask(RUBRIC | {"name": "renamed"})  # a name is no part of the question
    assert len(court.heard) == 12
    with pytest.raises(BackendError, match="4 of 4 opinions of court hold no verdict"):
        court.ask(RUBRIC | {"scale": [6, 9]})


def test_a_comparison_is_that_of_the_candidate_alone(tmp_path):
    def prefer(text):
        return "Better: A" if text.index("좋은") < text.index("나쁜") else "Better: B"

    court = Court(tmp_path, prefer, candidate=GOOD, base=[*POOR[:3], GOOD[3]], luna=POOR)
    found = court.ask(PAIRS)
    assert found.tallies == {"candidate": {"judge": [(1, 1), (1, 1), (1, 1), (0.5, 1)]}}
    assert len(court.heard) == 2 * 3
    assert found.remarks == (
        "judge: 0 of 4 verdicts of court (0%) changed with the order of the answers, and count as ties",
    )


def test_verdicts_that_change_with_the_order_are_ties_and_are_counted(tmp_path):
    def first(text):
        return "Better: A" if "좋은 0" in text else "Better: tie"

    court = Court(tmp_path, first, candidate=GOOD, base=POOR)
    found = court.ask(PAIRS | {"name": "nicer"})
    assert found.tallies == {"candidate": {"nicer": [(0.5, 1)] * 4}}
    assert found.remarks == (
        "nicer: 1 of 4 verdicts of court (25%) changed with the order of the answers, and count as ties",
    )


def test_nothing_is_compared_with_a_model_that_is_not_there(tmp_path):
    court = Court(tmp_path, by_words, candidate=GOOD, base=POOR)
    settings = PAIRS | {"against": "production"}
    found = court.ask(settings, RUBRIC | {"name": "score"})
    assert found.tallies.keys() == {"candidate", "base"}
    assert all(one.keys() == {"score"} for one in found.tallies.values())
    assert court.missing(settings) == {}


@pytest.mark.parametrize(
    ("settings", "answers", "before"),
    [
        ([RUBRIC], {"candidate": GOOD, "base": POOR}, {"court": 8}),
        ([RUBRIC], {"candidate": GOOD, "base": GOOD}, {"court": 4}),
        ([PAIRS], {"candidate": GOOD, "base": POOR}, {"court": 8}),
        ([PAIRS], {"candidate": GOOD, "base": [*GOOD[:3], "?"]}, {"court": 2}),
        ([PAIRS], {"candidate": GOOD, "base": GOOD}, {}),
        # Of answers that are not given yet, the most that can be needed.
        ([RUBRIC], {"candidate": GOOD, "base": POOR[:3]}, {"court": 8}),
        ([PAIRS], {"candidate": GOOD, "base": []}, {"court": 8}),
        ([PAIRS], {"candidate": [], "base": POOR, "luna": []}, {"court": 8}),
        ([RUBRIC, PAIRS | {"name": "b"}], {"candidate": GOOD, "base": POOR}, {"court": 16}),
        ([RUBRIC, RUBRIC | {"name": "b", "model": "x"}], {"candidate": GOOD}, {"court": 4, "x": 4}),
        ([], {"candidate": GOOD}, {}),
    ],
)
def test_a_plan_counts_the_opinions_to_ask_for(tmp_path, settings, answers, before):
    court = Court(tmp_path, by_words, **answers)
    assert court.missing(*settings) == before
    assert court.heard == []


def test_no_opinion_is_missing_once_it_was_asked_for(tmp_path):
    court = Court(tmp_path, by_words, candidate=GOOD, base=POOR)
    court.ask(RUBRIC)
    assert court.missing(RUBRIC) == {}
    assert court.missing(RUBRIC | {"max_tokens": 2000}) == {}
    assert court.missing(RUBRIC, RUBRIC | {"name": "b", "rubric": "길이"}) == {"court": 8}


class Filtering(ScriptedBackend):
    """A service that refuses one prompt, and answers the others first."""

    def complete(self, base_model, models, prompts, sampling, skip=()):
        given = super().complete(base_model, models, prompts, sampling, skip)

        def answers():
            refused = False
            for one in given:
                if one.completion.text == "refuse":
                    refused = True
                else:
                    yield Completed(model=one.model, prompt=one.prompt, completion=one.completion)
            if refused:
                raise PromptRefused("the service's filter stopped prompt 2")

        return answers()


CUT = Completion(text="처음부터 보면", finish_reason="length")


def ask_about_ten(tmp_path, bad: int, said):
    """Ask a judge about ten answers, which says something else than a score of the first."""
    wrong = {f"\n답 {number}\n" for number in range(bad)}

    def says(text):
        return said if any(one in text for one in wrong) else "Score: 4"

    court = Court(tmp_path, says, Filtering, candidate=[])
    prompts = [
        Prompt(messages=[{"role": "user", "content": f"질문 {number}"}]) for number in range(10)
    ]
    file = AnswerFile(court.folder, key_of(court.models[0]))
    for number, prompt in enumerate(prompts):
        file.append(prompt_key(prompt), Completion(text=f"답 {number}", finish_reason="stop"))
    kept = KeptAnswers(store=AnswerStore(court.folder), prompts=prompts)
    return ask_judges(metrics_of(RUBRIC), court.models, kept, court.context())


@pytest.mark.parametrize("said", ["모르겠습니다.", "refuse", CUT])
@pytest.mark.parametrize("bad", [0, 1])
def test_a_tenth_of_the_opinions_may_hold_no_verdict(tmp_path, bad, said):
    found = ask_about_ten(tmp_path, bad, said)
    assert found.tallies["candidate"]["judge"] == [None] * bad + [(4, 1)] * (10 - bad)
    remark = f"judge: {bad} of 10 opinions of court hold no verdict, not counted"
    assert found.remarks == ((remark,) if bad else ())


@pytest.mark.parametrize("bad", [2, 10])
@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("모르겠습니다.", "'모르겠습니다.'"),
        ("refuse", "the service's filter stopped prompt 2"),
        (CUT, "'처음부터 보면' (cut at its longest length)"),
    ],
)
def test_more_than_a_tenth_without_a_verdict_is_no_score(tmp_path, bad, said, shown):
    with pytest.raises(BackendError) as caught:
        ask_about_ten(tmp_path, bad, said)
    assert str(caught.value).startswith(
        f"judge: {bad} of 10 opinions of court hold no verdict, so there is no score; "
        f"the first: {shown}"
    )
    assert caught.value.remedy == (
        "Write a clearer rubric, raise `max_tokens` of the judge, or name another model. Answers "
        "and opinions are kept."
    )


def test_what_a_judge_said_of_two_orders_is_shown_together(tmp_path):
    court = Court(tmp_path, lambda text: f"음, {len(text)}?", candidate=GOOD, base=["네"] * 4)
    with pytest.raises(BackendError) as caught:
        court.ask(PAIRS)
    first, second = (f"음, {len(text)}?" for text in court.heard[:2])
    assert f"the first: '{first} / {second}'" in str(caught.value)


def test_a_judge_is_asked_where_the_spec_says(tmp_path):
    court = Court(tmp_path, by_words, candidate=GOOD)
    court.ask(RUBRIC)
    assert set(court.opened) == {"scripted"}
    court.opened.clear()
    court.ask(RUBRIC | {"backend": "local-gpu"}, RUBRIC | {"name": "b", "endpoint": "eu"})
    assert set(court.opened) == {"local-gpu", "openai@eu"}
    assert len(court.heard) == 3 * 4  # another place may be another model


class Counting(ScriptedBackend):
    """A backend that remembers how its answers were drawn."""

    samplings = ()

    def complete(self, base_model, models, prompts, sampling, skip=()):
        self.samplings = (*self.samplings, sampling)
        return super().complete(base_model, models, prompts, sampling, skip)


@pytest.mark.parametrize(("written", "tokens"), [({}, 1024), ({"max_tokens": 4096}, 4096)])
def test_a_judge_has_as_many_tokens_as_the_spec_says_and_draws_nothing(tmp_path, written, tokens):
    court = Court(tmp_path, by_words, Counting, candidate=GOOD)
    court.ask(RUBRIC | written)
    (sampling,) = court.backend.samplings
    assert (sampling.max_tokens, sampling.temperature, sampling.stop) == (tokens, 0.0, ())


def test_a_judge_that_is_not_there_is_an_error_before_anything_is_asked(tmp_path):
    court = Court(tmp_path, by_words, candidate=GOOD)
    court.backend.missing = ("court",)
    for call in (court.ask, court.missing):
        with pytest.raises(BaseModelMissing, match="court is not here"):
            call(RUBRIC)
    assert court.heard == []
