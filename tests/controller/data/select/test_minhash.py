import json
import random
import string
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.data.select.minhash import jaccard, lsh_keys

TEXT = "주문하신 상품은 오늘 오후에 출발해서 내일 도착할 예정입니다. 도착하면 문자로 알려 드릴게요."


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("할 수 있다!", "할수있다"),
        ("Hello, World", "hello world"),
        ("def f(x):\n    return x", "def f(x): return x"),
    ],
)
def test_case_blanks_and_marks_do_not_count(a, b):
    assert jaccard(a, b) == 1
    assert lsh_keys(a, 0.8) == lsh_keys(b, 0.8)


@pytest.mark.parametrize(
    ("other", "similarity"),
    [
        (TEXT.replace("내일", "모레"), 0.81),
        (TEXT.replace("상품", "물건").replace("문자", "전화"), 0.66),
        (TEXT + " 감사합니다.", 0.80),
        ("반품은 받으신 날부터 7일 안에 신청하실 수 있습니다.", 0.01),
        ("", 0),
    ],
)
def test_similarity(other, similarity):
    assert jaccard(TEXT, other) == pytest.approx(similarity, abs=0.01)


@pytest.mark.parametrize(("a", "b"), [("3 + 4", "3 - 4"), ("x < y", "x > y"), ("a == b", "a != b")])
def test_operators_count(a, b):
    assert jaccard(a, b) < 1


def test_texts_without_a_shingle_are_near_only_to_themselves():
    assert lsh_keys("?!", 0.8) == lsh_keys("", 0.8) == []
    assert (jaccard("?!", "?!"), jaccard("?!", "...")) == (1, 0)


@pytest.mark.parametrize("text", ["네", "a", "7"])
def test_a_text_of_one_character_is_near_only_to_itself(text):
    assert len(lsh_keys(text, 0.8)) == 9
    assert jaccard(text, text) == 1
    assert jaccard(text, text + "요") < 0.8


@given(st.text(), st.sampled_from([0.5, 0.8, 0.9, 0.99]))
def test_keys_are_eight_bytes_each_and_different(text, similarity):
    keys = lsh_keys(text, similarity)
    assert {len(key) for key in keys} <= {8}
    assert len(set(keys)) == len(keys)


@given(st.text(), st.text())
def test_similarity_has_no_direction(a, b):
    assert 0 <= jaccard(a, b) == jaccard(b, a) <= 1
    assert jaccard(a, a) == 1


@pytest.mark.parametrize(("similarity", "keys"), [(0.5, 35), (0.6, 34), (0.8, 9), (0.9, 5)])
def test_few_keys(similarity, keys):
    assert len(lsh_keys(TEXT, similarity)) == keys


def test_near_texts_share_a_key():
    near = [TEXT.replace(word, "그것") for word in ("내일", "상품은", "오후에", "문자로", "도착할")]
    assert all(jaccard(TEXT, one) >= 0.75 for one in near)
    assert all(set(lsh_keys(TEXT, 0.75)) & set(lsh_keys(one, 0.75)) for one in near)


def test_keys_are_the_same_in_every_process_and_release():
    program = f"from controller.data.select.minhash import lsh_keys; print(lsh_keys({TEXT!r}, 0.8)[0].hex())"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        timeout=110,
    )
    assert done.stdout.strip() == lsh_keys(TEXT, 0.8)[0].hex() == "373468f2d5790a5f"


def test_a_similarity_that_needs_too_many_keys_is_refused():
    with pytest.raises(ValueError, match="too many keys"):
        lsh_keys("a", 0.1)


def words(draw: random.Random, count: int) -> str:
    return " ".join("".join(draw.choices(string.ascii_lowercase, k=6)) for _ in range(count))


@pytest.mark.parametrize("similarity", [0.8, 0.9, 0.95])
@pytest.mark.parametrize("order", ["apart", "shuffled"])
def test_pairs_behind_the_same_template_are_found(repository, similarity, order):
    draw = random.Random(7)
    template, pairs = words(draw, 86), []
    for _ in range(150):
        text = f"{template} {words(draw, 14)}"
        pairs.append((text, f"{text[:-7]} {words(draw, 1)}"))
    assert 0.96 < jaccard(*pairs[0]) < 0.98
    assert 0.73 < jaccard(pairs[0][0], pairs[1][0]) < 0.76
    texts = [text for both in zip(*pairs, strict=True) for text in both]
    if order == "shuffled":
        draw.shuffle(texts)
    repository.write("a.jsonl", "".join(json.dumps({"text": text}) + "\n" for text in texts))
    dataset = repository.build(
        "a.jsonl",
        method="continued-pretraining",
        prepare={"deduplicate": "near", "similarity": similarity},
    )
    assert dataset.train.examples + dataset.held_out.examples == 150
