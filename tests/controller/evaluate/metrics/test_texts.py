"""Metrics of texts, against sacrebleu and rouge-score, in four languages."""

import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a
from sacrebleu.tokenizers.tokenizer_char import TokenizerChar
from sacrebleu.tokenizers.tokenizer_zh import TokenizerZh

from backends.contract.completions import Completion
from controller.evaluate.answers import Answer, Call
from controller.evaluate.metric import AnsweredExample
from controller.evaluate.metrics import metric_called
from controller.evaluate.metrics.texts.rouge_l import longest_common
from controller.evaluate.metrics.texts.words import plain_tokens_of, tokens_of

TEXTS = {
    "en": [
        ("We open at 9 a.m., closed on Mondays.", "We open at 9 am and close on Monday."),
        ("The price is $4,500 (tax included).", "The price is $4,500."),
        ('He said: "no&quot; - well-known\nline', "he said no"),
        ("one", "one"),
        ("", "something"),
        ("something", ""),
    ],
    "ko": [
        ("카페가 아침 9시에 문을 엽니다.", "카페는 오전 9시에 문을 열어요."),
        ("환불은 영수증을 가져오시면 됩니다.", "영수증을 가져오시면 환불해 드립니다."),
        ("네", "네, 그렇습니다"),
    ],
    "zh": [
        ("我们早上九点开门\uff0c周一休息。", "我们九点开门\uff0c星期一休息。"),
        ("价格是4500元\uff08含税\uff09。", "价格为4500元。"),
    ],
    "ja": [
        ("朝9時に開店します。月曜日は休みです。", "午前9時に開きます。月曜は定休日です。"),
        ("コーヒーは\uff14\uff15\uff10円です。", "コーヒーは450円です"),
    ],
}
EVERYTHING = [pair for pairs in TEXTS.values() for pair in pairs]
PIECES = st.sampled_from(
    [
        *"가나다환불文的の、。ー ab1.,-&'\"\n",
        "refund",
        " the",
        "9:30",
        "<skipped>",
        "&amp;",
        "é",
        "“",
    ]
)
RANDOM = st.lists(PIECES, max_size=25).map("".join)
PAIRS = st.lists(st.tuples(RANDOM, RANDOM), min_size=1, max_size=5)


def score(name: str, pairs, **settings) -> float | None:
    metric = metric_called(name)
    examples = [
        AnsweredExample(
            expected=Answer(text=expected),
            given=Answer(text=given_text),
            completion=Completion(text=given_text, finish_reason="stop"),
        )
        for expected, given_text in pairs
    ]
    return metric.score(metric.tally(metric.settings(**settings), examples))


def columns(pairs) -> tuple[list[str], list[list[str]]]:
    return [given_text for _, given_text in pairs], [[expected for expected, _ in pairs]]


def bleu(pairs, tokenize: str) -> float:
    return sacrebleu.corpus_bleu(*columns(pairs), tokenize=tokenize, force=True).score


@pytest.mark.parametrize("pairs", [*TEXTS.values(), EVERYTHING], ids=[*TEXTS, "all"])
def test_texts_in_four_languages_score_as_sacrebleu_has_it(pairs):
    chrf = sacrebleu.corpus_chrf(*columns(pairs)).score
    assert score("chrf", pairs) == pytest.approx(chrf, abs=1e-6)
    assert score("bleu", pairs, tokenize="words") == pytest.approx(bleu(pairs, "13a"), abs=1e-6)
    characters = bleu(pairs, "char")
    assert score("bleu", pairs, tokenize="characters") == pytest.approx(characters, abs=1e-6)


@settings(deadline=None)
@given(PAIRS)
def test_any_texts_score_as_sacrebleu_has_it(pairs):
    assert score("chrf", pairs) == pytest.approx(
        sacrebleu.corpus_chrf(*columns(pairs)).score, abs=1e-6
    )
    for tokenize, theirs in (("words", "13a"), ("characters", "char")):
        expected = bleu(pairs, theirs)
        assert score("bleu", pairs, tokenize=tokenize) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("language", "theirs"), [("en", "13a"), ("zh", "zh")], ids=["English", "Chinese"]
)
def test_by_default_words_are_split_as_the_language_needs(language: str, theirs: str):
    pairs = TEXTS[language]
    assert score("bleu", pairs) == pytest.approx(bleu(pairs, theirs), abs=1e-6)


@settings(deadline=None)
@given(RANDOM)
def test_tokens_are_those_of_sacrebleu(text: str):
    text = text.rstrip()
    assert tokens_of(text, "words") == Tokenizer13a()(text).split()
    assert tokens_of(text, "characters") == TokenizerChar()(text).split()


@pytest.mark.parametrize(
    ("text", "tokenize", "tokens"),
    [
        ("카페가 9시에", "auto", ["카", "페", "가", "9", "시", "에"]),
        ("카페가 9시에", "words", ["카페가", "9시에"]),
        ("카페가 9시에", "characters", ["카", "페", "가", "9", "시", "에"]),
        ("iPhone 15를 샀어요.", "auto", ["iPhone", "15", "를", "샀", "어", "요", "."]),
        ("我买了iPhone 15。", "auto", ["我", "买", "了", "iPhone", "15", "。"]),
        ("コーヒー2杯", "auto", ["コ", "ー", "ヒ", "ー", "2", "杯"]),
        ("well-known, it's", "auto", ["well-known", ",", "it's"]),
        ("well-known", "characters", list("well-known")),
        ("", "auto", []),
        (" \n", "characters", []),
    ],
)
def test_korean_chinese_and_japanese_are_split_into_characters(text, tokenize, tokens):
    assert tokens_of(text, tokenize) == tokens
    if tokenize == "auto" and not set(text) & set("카를コ"):
        assert tokens == TokenizerZh()(text).split()


ASCII = st.text(st.sampled_from("abcABC012 .,-_\n"), max_size=40)


@settings(deadline=None)
@given(ASCII, ASCII)
def test_rouge_of_english_is_that_of_rouge_score(expected: str, given_text: str):
    theirs = RougeScorer(["rougeL"]).score(expected, given_text)["rougeL"].fmeasure
    for tokenize in ("auto", "words"):
        assert score("rouge_l", [(expected, given_text)], tokenize=tokenize) == pytest.approx(
            theirs
        )


class Split:
    """Our tokens, for rouge-score, which drops every letter that is not English."""

    def __init__(self, tokenize: str) -> None:
        self._tokenize = tokenize

    def tokenize(self, text: str) -> list[str]:
        return plain_tokens_of(text, self._tokenize)


@pytest.mark.parametrize("tokenize", ["auto", "words", "characters"])
@pytest.mark.parametrize("pairs", TEXTS.values(), ids=[*TEXTS])
def test_rouge_is_that_of_rouge_score_for_the_same_tokens(pairs, tokenize: str):
    scorer = RougeScorer(["rougeL"], tokenizer=Split(tokenize))
    theirs = [scorer.score(*pair)["rougeL"].fmeasure for pair in pairs]
    expected = sum(theirs) / len(theirs)
    assert score("rouge_l", pairs, tokenize=tokenize) == pytest.approx(expected)


def test_a_korean_answer_is_not_wrong_for_its_particles():
    pair = [("카페가 문을 엽니다", "카페는 문을 엽니다")]
    assert score("rouge_l", pair) == pytest.approx(7 / 8)
    assert score("rouge_l", pair, tokenize="words") == pytest.approx(2 / 3)


def by_table(first: str, second: str) -> int:
    """The method of every textbook."""
    rows = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i, one in enumerate(first):
        for j, other in enumerate(second):
            same = rows[i][j] + 1
            rows[i + 1][j + 1] = same if one == other else max(rows[i][j + 1], rows[i + 1][j])
    return rows[-1][-1]


@settings(deadline=None)
@given(st.text("abc", max_size=20), st.text("abc", max_size=20))
def test_the_longest_common_subsequence_is_that_of_the_textbook(first: str, second: str):
    assert longest_common(first, second) == by_table(first, second)


@pytest.mark.parametrize("name", ["chrf", "bleu", "rouge_l"])
def test_texts_are_compared_where_no_call_is_expected(name: str):
    metric = metric_called(name)
    expected = Answer(text="예약할게요.", calls=(Call(name="book", arguments="{}"),))
    one = AnsweredExample(
        expected=expected,
        given=expected,
        completion=Completion(text="", finish_reason="stop"),
    )
    assert metric.tally(metric.settings(), [one]) == [None]
    assert score(name, []) is None
    assert score(name, [("", "")]) == 0.0
    assert score(name, [("네, 그렇게 합니다", "네, 그렇게 합니다")]) == (
        pytest.approx(1.0 if name == "rouge_l" else 100.0)
    )
