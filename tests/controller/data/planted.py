"""Files with problems planted in them, and the truth: which line has which.

`make(seed)` returns 4,560 clean questions and answers, Korean and English, full of what looks like
a problem and is none (prices, dates, order numbers, versions), and 500 planted problems. Numbers
get their checksums here, by the issuers' rules and not by the libraries that look for them.
"""

import json
import random
import re
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field

CLEAN = 4_560
HELD_OUT = 200
OVER_LENGTH = 4_000
"""An over-length answer has at least so many characters; any other has less than 1,000."""

COUNTS = {
    "email": 40,
    "phone": 60,
    "rrn": 40,
    "card": 40,
    "iban": 25,
    "ip": 30,
    "secret": 55,
    "exact duplicate": 40,
    "near duplicate": 50,
    "exact leak": 20,
    "near leak": 20,
    "over-length": 20,
    "broken JSON": 15,
    "missing answer": 15,
    "wrong role": 15,
    "empty question": 15,
}
PII = ("email", "phone", "rrn", "card", "iban", "ip", "secret")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One planted problem."""

    kind: str
    form: str
    """How it is written, or what was edited."""
    text: str = ""
    """For personal data: what must be found, and no more than it."""


@dataclass(slots=True, kw_only=True)
class Planted:
    """Two files as lines, and the problems of the first by line number."""

    train: list[str] = field(default_factory=list)
    held_out: list[str] = field(default_factory=list)
    truth: dict[int, Problem] = field(default_factory=dict)
    """Line of `train`, from 1, to its problem."""


def make(seed: int = 4, *, clean: int = CLEAN, share: float = 1) -> Planted:
    """Make the files; with fewer clean rows and only a share of the problems for a quick look."""
    chance = random.Random(seed)
    counts = {kind: round(count * share) for kind, count in COUNTS.items()}
    clean_ones = clean_rows(chance, clean + HELD_OUT)
    held_out, rows = clean_ones[:HELD_OUT], clean_ones[HELD_OUT:]
    entries: list[tuple[str, Problem | None]] = [(line(*row), None) for row in rows]
    later = list(problem_lines(chance, counts, rows, held_out))
    # Duplicates stand after what they are duplicates of, which is in the first half of the rows.
    first = len(entries) - len(later)
    mixed = [*entries[first:], *later]
    chance.shuffle(mixed)
    planted = Planted(held_out=[line(*row) for row in held_out])
    for text, problem in [*entries[:first], *mixed]:
        planted.train.append(text)
        if problem is not None:
            planted.truth[len(planted.train)] = problem
    return planted


def line(question: str, answer: str) -> str:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return json.dumps({"messages": messages}, ensure_ascii=False)


# --- clean rows ---------------------------------------------------------------------------------

KO_NOUNS = re.findall(
    r"\S+",
    """
커피 원두 우유 시럽 얼음 머그 텀블러 빨대 케이크 쿠키 샌드위치 베이글 주차 예약 환불 배송 쿠폰 포인트
회원 영수증 단체 포장 매장 메뉴 좌석 콘센트 와이파이 화장실 반려견 유모차 휠체어 행사 선물 상품권 교환
기계 분쇄기 필터 저울 주전자 온도 로스팅 향미 산미 단맛 디카페인 알레르기 견과 글루텐 채식 아침 점심
저녁 주말 공휴일 휴무 영업 지점 본사 가맹 교육 면접 급여 근무 유니폼 청소 위생 보험 계약 임대 인테리어
간판 조명 음악 향기 창고 재고 발주 납품 냉장고 제빙기 정수기 세척기 소음 환기 난방 냉방 안내문 설문
후기 사진 이벤트 적립 결제 현금 명세서 세금 신고 장부 통계 목표 계획 회의 보고서 출장 여행 기차 버스
지하철 자전거 산책 공원 도서관 서점 영화 연극 전시 음악회 수영 달리기 요가 낮잠 공부 시험 숙제 발표
번역 문법 단어 속담 역사 지리 과학 수학 물리 화학 생물 우주
""",
)
KO_VERBS = re.findall(
    r"\S+",
    """
바꾸고 고치고 알아보고 주문하고 취소하고 신청하고 확인하고 준비하고 비교하고 추천하고 보관하고 닦고 옮기고
나누고 미루고 앞당기고 합치고 줄이고 늘리고 접고 펼치고 찾고 묻고 적고 읽고 외우고 가르치고 배우고 고르고
버리고 모으고 빌리고 돌려주고 붙이고 떼고 열고 닫고 켜고 끄고 식히고 데우고 섞고 거르고 재고 맞추고
살피고
""",
)
EN_NOUNS = re.findall(
    r"\S+",
    """
kettle grinder roaster filter saucer napkin voucher receipt refund parcel courier invoice ledger
meadow harbour lantern orchard violin cathedral bicycle compass glacier volcano comet telescope
microscope enzyme molecule theorem integer matrix polygon compiler database socket browser
keyboard monitor printer scanner battery passport luggage ticket platform ferry hostel museum
gallery statue fountain bridge tunnel castle village farmer carpenter plumber teacher lawyer
surgeon pilot sailor painter poet novel chapter essay grammar proverb dialect breakfast noodle
dumpling pancake vinegar cinnamon ginger pepper mushroom spinach walnut almond raisin yoghurt
""",
)
EN_VERBS = re.findall(
    r"\S+",
    """
compare repair replace borrow return measure describe explain arrange postpone cancel deliver
collect polish assemble translate memorise sketch calculate estimate organise inspect upgrade
install remove weigh label
""",
)
KO_ENDS = """\
싶은데 어떻게 하나요?
싶습니다. 방법을 알려 주세요.
있는데 괜찮을까요?
있어요. 더 좋은 길이 있나요?
나서 무엇을 하면 되나요?
나면 얼마나 걸릴까요?
보니 어렵네요. 도와주세요.
있는데 누구에게 물어보나요?
""".splitlines()
KO_ANSWERS = """\
먼저 {a}부터 {v} 나서 {b}와 {c}를 함께 보시면 됩니다.
{a}는 {b} 담당자가 {v} 있으니 {c} 옆에서 기다려 주세요.
보통은 {a} 때문에 그렇습니다. {b}를 {v} 다시 {c}를 살펴보세요.
{c}보다 {a}가 중요합니다. {b}는 나중에 {v} 좋습니다.
{b} 화면에서 {a}를 누르고 {c} 항목을 {v} 저장하세요.
{a}와 {b}는 따로 {v} {c}에 적어 두시길 권합니다.
아쉽지만 {a}는 어렵습니다. 대신 {b}를 {v} {c}로 받으실 수 있어요.
{c}가 끝나면 {a} 쪽으로 {v} {b}를 챙겨 오세요.
""".splitlines()
EN_QUESTIONS = """\
How should I {v} the {a} before the {b} arrives?
Can you {v} a {a} without touching the {b}?
Why would anyone {v} their {a} next to a {b}?
Please {v} the difference between a {a} and a {b}.
What happens if I {v} the {a} and forget the {b}?
Is it cheaper to {v} one {a} or two of each {b}?
""".splitlines()
EN_ANSWERS = """\
Start with the {a}, then {v} the {b} slowly; a {c} helps.
Most people {v} the {c} first and keep the {a} near the {b}.
It depends on the {b}: a small {c} is enough, while a large {a} asks you to {v} twice.
You would {v} the {a} only when the {c} has no {b} left.
Never {v} a {b} on top of a {c}; put the {a} there instead.
The {c} came before the {a}, so {v} both and mention the {b}.
""".splitlines()


def clean_rows(chance: random.Random, count: int) -> list[tuple[str, str]]:
    rows, questions = [], set()
    while len(rows) < count:
        question, answer = korean(chance) if chance.random() < 0.6 else english(chance)
        if question in questions:
            continue
        questions.add(question)
        if chance.random() < 0.4:
            answer = f"{answer} {harmless(chance)}"
        rows.append((question, answer))
    return rows


def korean(chance: random.Random) -> tuple[str, str]:
    def words() -> dict[str, str]:
        a, b, c = chance.sample(KO_NOUNS, 3)
        return {"a": a, "b": b, "c": c, "v": chance.choice(KO_VERBS)}

    asked = words()
    question = f"{asked['a']} {asked['b']} {asked['v']} {chance.choice(KO_ENDS)}"
    sentences = chance.sample(KO_ANSWERS, chance.choice([1, 2, 3, 3]))
    answer = " ".join(one.format(**words()) for one in sentences)
    return question, answer


def english(chance: random.Random) -> tuple[str, str]:
    def words() -> dict[str, str]:
        a, b, c = chance.sample(EN_NOUNS, 3)
        return {"a": a, "b": b, "c": c, "v": chance.choice(EN_VERBS)}

    question = chance.choice(EN_QUESTIONS).format(**words())
    answer = " ".join(one.format(**words()) for one in chance.sample(EN_ANSWERS, 3))
    return question, answer


def harmless(chance: random.Random) -> str:
    """Return a sentence that looks like a problem and is none."""

    def digits(count: int) -> str:
        return "".join(chance.choices("0123456789", k=count))

    year, month, day = chance.randint(1990, 2030), chance.randint(1, 12), chance.randint(1, 28)
    return chance.choice(
        [
            f"가격은 {chance.randint(1, 99)},{digits(3)}원입니다.",
            f"총액은 {chance.randint(1, 9)},{digits(3)},{digits(3)}원이에요.",
            f"날짜는 {year}-{month:02}-{day:02}이고 시간은 {chance.randint(0, 23):02}:{digits(1)}0:00입니다.",
            f"{year}.{month:02}.{day:02} ~ {year + 1}.{month:02}.{day:02}",
            f"The code was {year}{month:02}{day:02}{digits(6)}.",
            f"주문 번호는 {year}{month:02}{day:02}-{digits(7)}입니다.",
            f"송장 {digits(4)}-{digits(4)}-{digits(4)}",
            f"Order no. {chance.randint(1, 9)}{digits(9)} has left.",
            f"거래 번호 {chance.randint(1, 9)}{digits(11)}",
            f"Version {chance.randint(0, 20)}.{digits(1)}.{digits(2)}.{digits(1)} is current.",
            f"펌웨어 버전 {chance.randint(1, 20)}.{chance.randint(0, 99)}.{chance.randint(0, 99)}.{chance.randint(0, 99)}",
            f"see section {chance.randint(1, 9)}.{chance.randint(1, 9)}.{chance.randint(1, 9)}.{chance.randint(1, 9)}",
            f"고객센터 15{digits(2)}-{digits(4)}로 문의하세요.",
            f"080-{chance.randint(200, 999)}-{digits(4)} (수신자 부담)",
            f"바코드 {barcode(f'880{digits(9)}')}",
            f"위도 {chance.randint(33, 38)}.{digits(6)}, 경도 {chance.randint(125, 129)}.{digits(6)}",
            f"commit {''.join(chance.choices('0123456789abcdef', k=40))}",
            f"id {''.join(chance.choices('0123456789abcdef', k=8))}-{digits(4)}-4{digits(3)}-a{digits(3)}-{digits(12)}",
            f"https://example.com/items/{digits(8)}?page={digits(2)}",
            "127.0.0.1:8080에서 열고 255.255.255.0을 적으세요.",
            "git@github.com:owner/repository.git",
            f"@cafe_{digits(3)} 를 팔로우하세요, icon@2x.png 도 있어요.",
            f"ISBN 978-{digits(1)}-{digits(3)}-{digits(5)}-{digits(1)}",
            f"모델 {chance.choice('ABKSX')}{chance.choice('ABKSX')}-{digits(3)}-{digits(4)}",
            f"사업자등록번호 {digits(3)}-{digits(2)}-{digits(5)}",
            f"{digits(3)} x {digits(4)} = {digits(7)}",
            f"pi is 3.{digits(14)}",
            "비밀번호는 8자리 이상, 비밀번호 4자리는 안 됩니다.",
            'password = "********" 처럼 보입니다.',
            f"max_tokens: {digits(4)}, api_key: ${{API_KEY_{digits(1)}}}",
            "std::map<int, a::b> m; x<y && y>z",
            f"우편번호 {digits(5)}, {chance.randint(1, 30)}층 {digits(3)}호",
        ]
    )  # fmt: skip


def barcode(body: str) -> str:
    total = sum(int(one) * (1 + 2 * (at % 2)) for at, one in enumerate(body))
    return f"{body}{-total % 10}"


# --- problems -----------------------------------------------------------------------------------


def problem_lines(
    chance: random.Random,
    counts: dict[str, int],
    rows: list[tuple[str, str]],
    held_out: list[tuple[str, str]],
) -> Iterator[tuple[str, Problem]]:
    for kind in PII:
        for number in range(counts[kind]):
            yield with_pii(chance, kind, number)
    # Each row is the origin of one problem at most, so that every problem is one of its own.
    origins = iter(
        chance.sample(rows[: len(rows) // 2], counts["exact duplicate"] + counts["near duplicate"])
    )
    leaked = iter(chance.sample(held_out, counts["exact leak"] + counts["near leak"]))
    for kind, source in (("duplicate", origins), ("leak", leaked)):
        for _ in range(counts[f"exact {kind}"]):
            yield line(*next(source)), Problem(kind=f"exact {kind}", form="the same")
        for number in range(counts[f"near {kind}"]):
            form, edit = EDITS[number % len(EDITS)]
            yield line(*edit(chance, *next(source))), Problem(kind=f"near {kind}", form=form)
    yield from bad_lines(chance, counts)


def with_pii(chance: random.Random, kind: str, number: int) -> tuple[str, Problem]:
    form, text, *inside = PLANTS[kind](chance, number)
    ((question, answer),) = clean_rows(chance, 1)
    frame = chance.choice(FRAMES)
    if chance.random() < 0.5:
        question = f"{question} {frame.format(text)}"
    else:
        answer = f"{frame.format(text)} {answer}"
    return line(question, answer), Problem(kind=kind, form=form, text=(inside or [text])[0])


FRAMES = (
    "{}입니다.",
    "제 것은 {}이에요.",
    "여기로 보내 주세요: {}",
    "({})",
    "It is {}.",
    "please use {} instead",
    "메모: {}\n",
    "「{}」",
    "확인 부탁드려요 {} 감사합니다",
    "before|{}|after",
)


def digits(chance: random.Random, count: int) -> str:
    return "".join(chance.choices("0123456789", k=count))


def wide(text: str) -> str:
    return "".join(chr(ord(one) + 0xFEE0) if "!" <= one <= "~" else one for one in text)


def an_email(chance: random.Random, number: int) -> tuple[str, str]:
    name = f"{chance.choice(EN_NOUNS)}{chance.choice(['', '.', '_', '-'])}{chance.choice(EN_NOUNS)}"
    host = chance.choice(["naver.com", "gmail.com", "daum.net", "snu.ac.kr", "mail.example.co.kr"])
    forms = [
        ("plain", f"{name}@{host}"),
        ("plain", f"{name}{digits(chance, 2)}@{host}"),
        ("upper case", f"{name}@{host}".upper()),
        ("plus", f"{name}+shop@{host}"),
        ("phone as name", f"010{digits(chance, 8)}@{host}"),
        ("(at)", f"{name}(at){host}"),
        ("[at] [dot]", f"{name} [at] {host.replace('.', ' [dot] ')}"),
        ("골뱅이", f"{name} 골뱅이 {host}"),
        ("full width", wide(f"{name}@{host}")),
        ("at dot", f"{name} at {host.replace('.', ' dot ')}"),
    ]
    return forms[number % len(forms)]


def a_phone(chance: random.Random, number: int) -> tuple[str, str]:
    middle, last = f"{chance.randint(2, 9)}{digits(chance, 3)}", digits(chance, 4)
    short = f"{chance.randint(2, 9)}{digits(chance, 2)}"
    area = chance.choice(["031", "032", "042", "051", "053", "062", "064"])
    spoken = "".join("공일이삼사오육칠팔구"[int(one)] for one in middle + last)
    forms = [
        ("010-", f"010-{middle}-{last}"),
        ("010 plain", f"010{middle}{last}"),
        ("010 blanks", f"010 {middle} {last}"),
        ("010 dots", f"010.{middle}.{last}"),
        ("010 dash", f"010\u2013{middle}\u2013{last}"),
        ("010 full width", wide(f"010-{middle}-{last}")),
        ("010 one hyphen", f"010-{middle}{last}"),
        ("010 wide hyphens", f"010 - {middle} - {last}"),
        ("010 parenthesis", f"010){middle}-{last}"),
        ("011", f"011-{short}-{last}"),
        ("Seoul", f"02-{short}-{last}"),
        ("Seoul parenthesis", f"02){middle}-{last}"),
        ("Seoul parentheses", f"(02) {middle}-{last}"),
        ("area", f"{area}-{short}-{last}"),
        ("internet", f"070-{middle}-{last}"),
        ("virtual", f"0504-{middle}-{last}"),
        ("+82", f"+82 10-{middle}-{last}"),
        ("+82 (0)", f"+82 (0)10-{middle}-{last}"),
        ("+82 plain", f"+8210{middle}{last}"),
        ("82-", f"82-10-{middle}-{last}"),
        ("+1", f"+1 415 {short} {last}"),
        ("+44", f"+44 20 7946 {last}"),
        ("spoken", f"공일공 {spoken[:4]} {spoken[4:]}"),
        ("+81", f"+81 90-{middle}-{last}"),
    ]
    return forms[number % len(forms)]


def an_rrn(chance: random.Random, number: int) -> tuple[str, str]:
    recent = number % 8 == 5
    year = chance.randint(21, 25) if recent else chance.randint(40, 99)
    birth = f"{year:02}{chance.randint(1, 12):02}{chance.randint(1, 28):02}"
    foreign = number % 8 == 6
    rest = (
        chance.choice("34" if recent else "56" if foreign else "12") + f"{chance.randint(0, 95):02}"
    )
    rest += digits(chance, 3)
    weights = (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5)
    total = sum(weight * int(one) for weight, one in zip(weights, birth + rest, strict=True))
    rest += str((11 - total % 11) % 10)
    if recent:
        rest = rest[0] + digits(chance, 6)
    forms = [
        ("6-7", f"{birth}-{rest}"),
        ("13 digits", f"{birth}{rest}"),
        ("6 7", f"{birth} {rest}"),
        ("6 - 7", f"{birth} - {rest}"),
        ("dash", f"{birth}\u2013{rest}"),
        ("born since 2020, no checksum", f"{birth}-{rest}"),
        ("foreigner", f"{birth}-{rest}"),
        ("full width", wide(f"{birth}-{rest}")),
    ]
    return forms[number % len(forms)]


def a_card(chance: random.Random, number: int) -> tuple[str, str]:
    prefix, length = [
        ("4", 16), ("52", 16), ("2234", 16), ("37", 15), ("3530", 16), ("6011", 16), ("6250", 16),
        ("36", 14), ("9420", 16),
    ][number % 9]  # fmt: skip
    body = prefix + digits(chance, length - len(prefix) - 1)
    doubled = [int(one) * (1 + (at % 2 == 0)) for at, one in enumerate(reversed(body))]
    body += str(-sum(one // 10 + one % 10 for one in doubled) % 10)
    cuts = (4, 10) if length < 16 else (4, 8, 12)
    parts = [body[a:b] for a, b in zip((0, *cuts), (*cuts, length), strict=True)]
    forms = [
        ("plain", body),
        ("hyphens", "-".join(parts)),
        ("blanks", " ".join(parts)),
        ("dots", ".".join(parts)),
    ]
    if prefix == "9420":
        forms = forms[1:3]
    form, text = forms[number // 9 % len(forms)]
    return f"{prefix}... {form}", text


def an_iban(chance: random.Random, number: int) -> tuple[str, str]:
    country, bank = [
        ("DE", digits(chance, 18)),
        ("GB", "WEST" + digits(chance, 14)),
        ("NL", "ABNA" + digits(chance, 10)),
        ("AT", digits(chance, 16)),
        ("SA", digits(chance, 20)),
    ][number % 5]
    value = "".join(str(int(one, 36)) for one in f"{bank}{country}00")
    text = f"{country}{98 - int(value) % 97:02}{bank}"
    grouped = " ".join(text[at : at + 4] for at in range(0, len(text), 4))
    forms = [
        ("plain", text),
        ("groups", grouped),
        ("lower case", text.lower()),
        ("hyphens", grouped.replace(" ", "-")),
    ]
    form, text = forms[number // 5 % len(forms)]
    return f"{country} {form}", text


def an_ip(chance: random.Random, number: int) -> tuple[str, str]:
    def some(low: int = 11) -> int:
        return chance.randint(low, 254)

    group = "".join(chance.choices("123456789abcdef", k=4))
    forms = [
        ("public", f"121.{some()}.{some()}.{some()}"),
        ("public, small", f"58.{some(1)}.{chance.randint(1, 9)}.{chance.randint(1, 9)}"),
        ("private 192.168", f"192.168.{some()}.{some()}"),
        ("private 10", f"10.{some()}.{some()}.{some()}"),
        ("private 172", f"172.20.{some()}.{some()}"),
        ("v6 full", f"2001:0db8:{group}:0042:1000:8a2e:0370:7{group[:3]}"),
        ("v6 short", f"2001:4430:{group}::{chance.randint(10, 99)}"),
        ("v6 local", f"fd12:{group}:789a:1::{chance.randint(1, 99)}"),
    ]
    return forms[number % len(forms)]


LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def a_secret(chance: random.Random, number: int) -> tuple[str, ...]:
    def key(count: int, letters: str = LETTERS + "0123456789") -> str:
        return "".join(chance.choices(letters, k=count))

    def part(value: str) -> str:
        return urlsafe_b64encode(value.encode()).decode().rstrip("=")

    capitals = LETTERS[:26]
    pem = "\n".join(key(64) for _ in range(4))
    token = f"{part(json.dumps({'alg': 'HS256'}))}.{part(json.dumps({'sub': digits(chance, 10)}))}"
    forms = [
        ("AWS", "AKIA" + key(16, capitals + "234567")),
        ("GitHub", "ghp_" + key(36)),
        ("GitHub fine-grained", f"github_pat_{key(22)}_{key(59)}"),
        ("GitLab", "glpat-" + key(20)),
        ("OpenAI project", f"sk-proj-{key(74)}T3BlbkFJ{key(74)}"),
        ("OpenAI", f"sk-{key(20)}T3BlbkFJ{key(20)}"),
        ("Anthropic", f"sk-ant-api03-{key(93)}AA"),
        ("Hugging Face", "hf_" + key(34, LETTERS)),
        ("Google", "AIza" + key(35)),
        ("Slack", f"xoxb-{digits(chance, 12)}-{digits(chance, 12)}-{key(24)}"),
        ("Stripe", "sk_live_" + key(24)),
        ("SendGrid", f"SG.{key(22)}.{key(43)}"),
        ("npm", "npm_" + key(36)),
        ("PyPI", "pypi-AgEIcHlwaS5vcmc" + key(80)),
        ("Telegram", f"{digits(chance, 10)}:AA{key(33)}"),
        ("JWT", f"{token}.{key(43)}"),
        ("private key", f"-----BEGIN PRIVATE KEY-----\n{pem}\n-----END PRIVATE KEY-----"),
        *(
            (form, frame.format(inside), inside)
            for form, frame, inside in (
                ("password in URL", "postgres://admin:{}@db.internal/app", f"{key(6)}!{key(4)}9"),
                ("password, Korean", "비밀번호는 {}", f"{key(7)}4!"),
                ("password, short", "비번: {}", f"{key(6)}77"),
                ("password, code", 'password = "{}"', f"{key(8)}5#{key(2)}"),
                ("API key, named", "api_key={}", f"{key(24)}3"),
                ("password of words", "비밀번호: {}", "".join(chance.sample(EN_NOUNS, 2))),
                ("PIN", "비밀번호 {}", digits(chance, 4)),
            )
        ),
    ]  # fmt: skip
    return forms[number % len(forms)]


PLANTS = {
    "email": an_email,
    "phone": a_phone,
    "rrn": an_rrn,
    "card": a_card,
    "iban": an_iban,
    "ip": an_ip,
    "secret": a_secret,
}


# --- near duplicates ----------------------------------------------------------------------------


def respaced(chance: random.Random, question: str, answer: str) -> tuple[str, str]:
    words = answer.split(" ")
    at = chance.randrange(len(words) - 1)
    return question.upper(), " ".join([*words[:at], words[at] + words[at + 1], *words[at + 2 :]])


def repunctuated(_: random.Random, question: str, answer: str) -> tuple[str, str]:
    return question.rstrip("?.") + "!!", answer.replace(". ", "...  ")


def one_word_other(chance: random.Random, question: str, answer: str) -> tuple[str, str]:
    words = answer.split(" ")
    words[chance.randrange(len(words))] = chance.choice(KO_NOUNS)
    return question, " ".join(words)


def mistyped(chance: random.Random, question: str, answer: str) -> tuple[str, str]:
    at = chance.randrange(len(answer) - 1)
    return question, answer[:at] + answer[at + 1] + answer[at] + answer[at + 2 :]


def thanked(_: random.Random, question: str, answer: str) -> tuple[str, str]:
    return f"{question} 감사합니다.", answer


def reordered(_: random.Random, question: str, answer: str) -> tuple[str, str]:
    first, _, rest = answer.partition(". ")
    return question, f"{rest.rstrip('.')}. {first}."


def asked_otherwise(chance: random.Random, question: str, answer: str) -> tuple[str, str]:
    words = question.split(" ")
    words[chance.randrange(len(words))] = chance.choice(KO_NOUNS)
    return " ".join(words), answer


EDITS = (
    ("blanks and case", respaced),
    ("punctuation", repunctuated),
    ("one word of the answer", one_word_other),
    ("two letters swapped", mistyped),
    ("thanks added", thanked),
    ("sentences reordered", reordered),
    ("one word of the question", asked_otherwise),
)


def bad_lines(chance: random.Random, counts: dict[str, int]) -> Iterator[tuple[str, Problem]]:
    for _ in range(counts["over-length"]):
        ((question, answer),) = clean_rows(chance, 1)
        while len(answer) < OVER_LENGTH:
            answer = f"{answer} {clean_rows(chance, 1)[0][1]}"
        yield line(question, answer), Problem(kind="over-length", form=f"{len(answer)} characters")
    for number in range(counts["broken JSON"]):
        whole = line(*clean_rows(chance, 1)[0])
        forms = [
            ("cut off", whole[: len(whole) // 2]),
            ("trailing comma", whole[:-1] + ",}"),
            ("single quotes", whole.replace('"', "'")),
        ]
        form, text = forms[number % 3]
        yield text, Problem(kind="broken JSON", form=form)
    for number in range(counts["missing answer"]):
        row = json.loads(line(*clean_rows(chance, 1)[0]))
        if number % 2:
            del row["messages"][1]
        else:
            row["messages"][1]["content"] = ""
        form = "no turn" if number % 2 else "empty"
        yield json.dumps(row, ensure_ascii=False), Problem(kind="missing answer", form=form)
    for number in range(counts["wrong role"]):
        row = json.loads(line(*clean_rows(chance, 1)[0]))
        role = ["gpt", "human", "Assistant"][number % 3]
        row["messages"][number % 2]["role"] = role
        yield json.dumps(row, ensure_ascii=False), Problem(kind="wrong role", form=role)
    for number in range(counts["empty question"]):
        _, answer = clean_rows(chance, 1)[0]
        yield line(" \n"[: number % 3], answer), Problem(kind="empty question", form="blank")
