import pytest

from controller.data.reports.language import language_of


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("네", "ko"),
        ("ㅋㅋㅋ", "ko"),
        ("안녕하세요", "ko"),
        ("OK 네", "ko"),
        ("Python에서 list comprehension을 어떻게 쓰나요?", "ko"),
        ("大韓民國의 수도는 서울이다", "ko"),
        ("これは何ですか", "ja"),
        ("カフェ", "ja"),
        ("東京タワーはどこですか", "ja"),
        ("我们的咖啡店早上九点开门", "zh"),
        ("How much does a cup of coffee cost here?", "en"),
        ("Wie viel kostet hier eine Tasse Kaffee?", "de"),
        ("Combien coûte une tasse de café ici ?", "fr"),
        ("Cuánto cuesta una taza de café aquí, por favor?", "es"),
        ("Сколько здесь стоит чашка кофе?", "ru"),
        ("The Korean word for coffee is 커피, and it is easy to remember for most people.", "en"),
        ("", "und"),
        ("12345", "und"),
        ("?!", "und"),
        ("\n", "und"),
        ("😀😀", "und"),
    ],
)
def test_language(text, language):
    assert language_of(text) == language


def test_a_long_text_is_judged_by_its_beginning():
    assert language_of("The coffee is good and the people are kind. " * 100_000) == "en"
