"""Clean questions and answers, Korean and English, full of what looks like a problem and is not one."""

import random
import re

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
