"""Language of a text, by its script or, if that does not decide, by a model. Pure.

Hangul is Korean, kana is Japanese, however short the text is; the model decides about other texts,
unless they are too short. It is loaded for the first text that needs it, which takes a second and
100 MB, so languages are detected in a sample only.
"""

import re
from functools import cache

from py3langid.langid import MODEL_FILE, LanguageIdentifier

UNKNOWN = "und"
"""ISO 639's code of an undetermined language."""

_LETTERS_PER_SYLLABLE = 3
"""Number of Latin letters that count as one Hangul, kana or Chinese character."""
_MOST_CHARACTERS = 2_000
"""The beginning decides; more characters only take more time."""
_CONFIDENT = 0.5
"""Confidence below which the model's guess is as often wrong as right."""
_LENGTH_OF_A_CODE = 2
"""Length of a code of ISO 639-1; some languages of the model only have a longer code."""
_MACRO = {"arz": "ar", "ary": "ar", "wuu": "zh", "yue": "zh"}

_HANGUL = re.compile("[\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3]")
_KANA = re.compile("[\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff]")
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")
_LATIN = re.compile("[A-Za-z\u00c0-\u024f]")


def language_of(text: str) -> str:
    """Return the ISO 639-1 code of a text's language, or `und`.

    A Korean text with code or English names stays Korean if enough of it is Korean.
    """
    text = text[:_MOST_CHARACTERS]
    if not text.isascii():
        hangul, kana, han = (len(script.findall(text)) for script in (_HANGUL, _KANA, _HAN))
        wide = hangul + kana + han
        if wide and wide * _LETTERS_PER_SYLLABLE >= len(_LATIN.findall(text)):
            return _of_script(text, hangul, kana, han)
    return _of_model(text)


def _of_script(text: str, hangul: int, kana: int, han: int) -> str:
    if hangul >= kana + han or (hangul and hangul >= kana):
        return "ko"
    if kana:
        return "ja"
    return "ja" if _of_model(text) == "ja" else "zh"


def _of_model(text: str) -> str:
    label, _ = _identifier().classify(text)
    code = _MACRO.get(label, label)
    return code if len(code) == _LENGTH_OF_A_CODE else UNKNOWN


@cache
def _identifier() -> LanguageIdentifier:
    return LanguageIdentifier.from_model_file(
        MODEL_FILE, norm_probs=True, min_confidence=_CONFIDENT
    )
