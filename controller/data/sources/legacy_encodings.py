"""Distinguish encodings of bytes that are not UTF-8: Korean, or another language's encoding. Pure.

Bytes of one double-byte encoding are mostly valid in the others, but mean nothing there. Korean is
recognised by its syllables: about seven hundred of the 2,350 in KS X 1001 make up nearly all of a
text, while bytes of another encoding hit them only by chance.
"""

from codecs import getincrementaldecoder
from collections import Counter
from typing import Final, Literal, TypeAlias

Judgement: TypeAlias = Literal["korean", "doubtful", "other"]

LEGACY: Final = {
    "cp949": "cp949",
    "gb18030": "gb18030",
    "big5": "big5hkscs",
    "shift_jis": "cp932",
    "euc_jp": "euc_jp",
    "cp1252": "cp1252",
}
"""Encoding names in a spec, and the codec that decodes the most of each."""

_COMMON: Final = frozenset(
    "가각간갈감갑값강같개객갱거걱건걸검것겁게겠겨격견결겸경계고곡곤골곱곳공과관광괜괴교구국군굴권귀규균그극근글금급긋긍기긴길김까깊깨꺼께꼬꼭꼼꽃꾸끄끊끔끝끼"
    "나난날남납났낮낳내낸낼냄냉너널넓넘넣네년념노녹논놀농높놓누눈눌뉴느는늘능늦니님"
    "다단닫달담답당대댁더덕던덜덤덧데델도독돈돌동돼되된될됨됩두둘뒤드득든듣들듯등디따딱때떠떤떨떻또뜨뜻띄"
    "라락란람랍랑래랜램량러런럼럽렀렇레려력련렬렴렵령례로록론롤료루류률르른를름릇릉리린릴림립릿링"
    "마막만많말맘맛망맞맡매맥맨맵맺머먹먼멀멋멍메며면멸명몇모목몬몰몸못몽묘무묵문묻물뭐므미민밀밑및"
    "바박밖반받발밝밤밥방배백버번벌범법벗벤벨변별병보복본볼봄봅봉봐부북분불붙브블비빈빌빙빛빠빨뿌쁘"
    "사삭산살삼상새색샐생샤서석선설섬섭성세센셀셔션셨소속손솔송쇄쇼수숙순술숨쉬쉽슈스슨슬슴습승시식신실심십싶싸써썼쓰쓴씀씨씩"
    "아악안않알암압았앙앞애액야약양어억언얻얼엄업없었엇에엔엘여역연열염영옆예옛오옥온올옮옳와완왔왕왜외요욕용우욱운울움웃워원월웠위윗유육윤율으은을음응의이익인일읽잃임입있잊"
    "자작잔잘잠잡장재쟁저적전절점접정젖제져졌조족존졸종좀좋좌죄주죽준줄중줘즈즉즌즐증지직진질짐집짓징짜짝째쪽쯤찌찍"
    "차착찬찰참창찾채책처척천철첨첩첫청체쳐초촉총촬최추축춘출충춰취츠측층치친칠침칭"
    "카칸칼캐커컨컬케켓켜코콘콜쿠쿼퀴크큰클큼키킬킹타탁탄탈탑탕태택터턴털테텍텔템토톡톤통퇴투트특튼틀틈티틱팀팅"
    "파판팔팝패팩퍼페펜펴편펼평폐포폭폰표푸품풍퓨프플피픽필하학한할함합항해핵했행향허험헤혀혁현혈협형혜호혹혼홀홈홍화확환활황회획횟효후훈훨휘휴흐흔흘흥희히힘ㅋㅎㅠㅜ"
)

_KOREAN: Final = 0.75
_PERHAPS: Final = 0.6
"""Minimum shares of common syllables among a text's letters: for Korean, and for doubtful."""
_ENOUGH: Final = 30
"""Number of different letters from which the share is significant."""
_SHOWN: Final = 24


def judge(text: str) -> Judgement:
    """Return whether a text decoded as CP949 is Korean; `doubtful` if it is too short."""
    letters = Counter(letter for letter in text if not letter.isascii() and letter.isalpha())
    common = sum(count for letter, count in letters.items() if letter in _COMMON)
    share = common / max(letters.total(), 1)
    if share >= _KOREAN and len(letters) >= _ENOUGH:
        return "korean"
    return "doubtful" if share >= _PERHAPS else "other"


def readings(sample: bytes) -> dict[str, str]:
    """Return the text of a line, by each encoding in which the sample is valid."""
    found: dict[str, str] = {}
    for name, codec in LEGACY.items():
        try:
            # The last letter may be cut off.
            text = getincrementaldecoder(codec)().decode(sample)
        except UnicodeDecodeError:
            continue
        lines = (line.strip() for line in text.split("\n"))
        text_line = next((line for line in lines if not line.isascii()), "")
        if text_line.isprintable() and text_line and _around(text_line) not in found.values():
            found[name] = _around(text_line)
    return found


def spelled(found: dict[str, str]) -> str:
    """Return the readings as text for a message."""
    return ", ".join(f"encoding: {name} ({text!r})" for name, text in found.items())


def _around(line: str) -> str:
    """Return a line from its first non-ASCII letter on."""
    first = next(at for at, letter in enumerate(line) if not letter.isascii())
    return line[first : first + _SHOWN]
