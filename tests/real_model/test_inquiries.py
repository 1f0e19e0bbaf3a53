"""The bank's inquiries: enough, all different, and nothing held out is among what is learned."""

import re
from collections import Counter

from tests.real_model import inquiries


def test_each_label_has_as_many_messages_as_any_other_and_none_is_there_twice():
    train, held_out = inquiries.inquiries()
    labels = inquiries.labels()
    assert len(labels) == 12
    assert Counter(row.label for row in train) == dict.fromkeys(labels, inquiries.TRAIN)
    assert Counter(row.label for row in held_out) == dict.fromkeys(labels, inquiries.HELD_OUT)
    texts = [row.text.lower() for row in (*train, *held_out)]
    assert len(set(texts)) == len(texts) == 720


def test_the_same_seed_gives_the_same_messages():
    assert inquiries.inquiries() == inquiries.inquiries()
    assert inquiries.inquiries(seed=1) != inquiries.inquiries()


def test_held_out_messages_come_from_sentences_that_are_not_learned():
    sentences = inquiries.sentences()
    learned = [re.sub(r"\{\w+\}", "", text) for train, _ in sentences.values() for text in train]
    asked = [re.sub(r"\{\w+\}", "", text) for _, held in sentences.values() for text in held]
    assert len(learned) == 120
    assert len(asked) == 48

    def words(text):
        return set(re.findall(r"\w+", text.lower()))

    for text in asked:
        nearest = max(
            len(words(text) & words(one)) / len(words(text) | words(one)) for one in learned
        )
        assert nearest < 0.6, text


def test_every_place_in_a_sentence_is_filled():
    train, held_out = inquiries.inquiries()
    assert not any(set(row.text) & set("{}") for row in (*train, *held_out))
