"""Text that is valid in several legacy encodings: never read as another language in silence."""

import pytest

from controller.data.errors import DataError
from controller.data.sources.inspect_file import inspect_file

LABELS = {
    "gb18030": ("问题", "好", "坏"),
    "big5": ("問題", "好", "壞"),
    "shift_jis": ("質問です", "良い", "悪い"),
    "euc_jp": ("質問です", "良い", "悪い"),
    "cp1252": ("déjà vu", "très bien", "mauvaisé"),
}
KOREAN = "영업시간이 어떻게 되나요? 오전 여덟 시부터 밤 열 시까지예요. 주차할 수 있나요? 건물 뒤에 세 대까지 세울 수 있어요."


def table(question: str, *answers: str) -> str:
    return "q,a\n" + "".join(f"{question}{n},{answers[n % len(answers)]}\n" for n in range(14))


def info(tmp_path, content: bytes, **said):
    path = tmp_path / "d.csv"
    path.write_bytes(content)
    return inspect_file(path, tmp_path / "looks", file_format="csv", **said)


@pytest.mark.parametrize("encoding", LABELS)
def test_short_text_that_is_not_korean_is_refused_with_what_each_encoding_reads(tmp_path, encoding):
    question, *answers = LABELS[encoding]
    content = table(question, *answers).encode(encoding)
    with pytest.raises(DataError) as caught:
        info(tmp_path, content)
    assert caught.value.line == 2
    seen = question.lstrip("d")
    assert f"encoding: {encoding} ('{seen}0,{answers[0]}')" in caught.value.remedy
    assert info(tmp_path, content, encoding=encoding).encoding


def test_the_remedy_shows_every_reading_once(tmp_path):
    with pytest.raises(DataError) as caught:
        info(tmp_path, table("问题", "好", "坏").encode("gb18030"))
    for one in ("cp949 ('狂痙0,봤')", "gb18030 ('问题0,好')", "cp1252 ("):
        assert caught.value.remedy.count(f"encoding: {one}") == 1


def test_long_korean_is_read_without_a_word(tmp_path):
    found = info(tmp_path, f"q,a\n{KOREAN},1\n".encode("cp949"))
    assert (found.encoding, found.doubt) == ("cp949", "")


def test_short_korean_is_read_and_its_other_readings_are_told(tmp_path):
    found = info(tmp_path, table("질문", "긍정", "부정").encode("cp949"))
    assert found.encoding == "cp949"
    assert found.doubt.startswith(
        "read as CP949: '질문0,긍정'; if that is wrong: encoding: gb18030 ("
    )


def test_long_chinese_that_is_valid_korean_is_refused(tmp_path):
    # Letters whose first byte is one of KS X 1001's syllables: all of it decodes as CP949.
    valid = bytes(byte for lead in range(0xB0, 0xC9) for byte in (lead, 0xA1 + lead % 90))
    content = b"q,a\n" + valid * 20 + b",1\n"
    assert content.decode("gb18030") != content.decode("cp949")
    with pytest.raises(DataError, match="is not UTF-8"):
        info(tmp_path, content)


def test_foreign_text_far_into_a_file_is_looked_at(tmp_path):
    content = b"q,a\n" + b"plain,1\n" * 300_000 + "好,1\n".encode("gb18030")
    with pytest.raises(DataError) as caught:
        info(tmp_path, content)
    assert caught.value.line == 300_002
    assert "encoding: gb18030 ('好,1')" in caught.value.remedy


def test_broken_utf8_is_not_offered_as_another_encoding(tmp_path):
    with pytest.raises(DataError) as caught:
        info(tmp_path, "q\n한글\n카페 ".encode() + b"\xc7\n")
    assert "encoding:" not in caught.value.remedy


def test_a_doubtful_encoding_is_in_the_report(repository):
    repository.write("d.csv", table("질문", "긍정", "부정").encode("cp949"))
    dataset = repository.build({"path": "d.csv", "columns": {"user": "q", "assistant": "a"}})
    (step,) = (step for step in dataset.report.steps if step.name == "read")
    assert step.noted == 1
    assert step.reasons[0].startswith("finetunes/d.csv:1: read as CP949: '질문0,긍정'")


@pytest.mark.parametrize("encoding", ["punycode", "unicode_escape", "undefined"])
def test_a_codec_that_no_file_is_written_in_is_refused(tmp_path, encoding):
    with pytest.raises(DataError, match="there is no encoding"):
        info(tmp_path, b"q\nabc-\n", encoding=encoding)
