"""Which language a text is in, by its script or, where that says nothing, by a model. Pure.

Hangul is Korean, kana is Japanese, however short the text is; the model decides about the rest,
and is silent about texts that are too short to tell. It is read on the first text it is needed
for: about a second, and 100 MB from then on, so a process asks of a sample only.
"""

import re
from functools import cache

from py3langid.langid import MODEL_FILE, LanguageIdentifier

UNKNOWN = "und"
"""ISO 639's own word for a language that was not determined."""

_LETTERS_PER_SYLLABLE = 3
"""So many Latin letters say about as much as one Hangul, kana or Chinese character."""
_MOST_CHARACTERS = 2_000
"""The beginning decides: more changes nothing but the time."""
_CONFIDENT = 0.5
"""Below, the model's first guess is as often wrong as right."""
_LENGTH_OF_A_CODE = 2
"""ISO 639-1's; the model also knows languages that only have a longer one."""
_MACRO = {"arz": "ar", "ary": "ar", "wuu": "zh", "yue": "zh"}

_HANGUL = re.compile("[\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3]")
_KANA = re.compile("[\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff]")
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")
_LATIN = re.compile("[A-Za-z\u00c0-\u024f]")


def language_of(text: str) -> str:
    """Return the ISO 639-1 code of a text's language, or `und`.

    Code in a Korean text, or an English name, leaves it Korean as long as Korean is a good part.
    """
    text = text[:_MOST_CHARACTERS]
    if not text.isascii():
        hangul, kana, han = (len(one.findall(text)) for one in (_HANGUL, _KANA, _HAN))
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
