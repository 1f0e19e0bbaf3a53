import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.data.transforms.pii.detect import KINDS, find, find_named, mask
from controller.data.transforms.pii.national import REGIONS
from controller.spec.base import field_texts
from controller.spec.data import Prepare

# In pieces, so that no scanner takes this file for a leak.
AWS = "AKIA" + "IOSFODNN7QRTZWXY"
GITHUB = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
HUGGING_FACE = "hf_" + "AbCdEfGhIjKlMnOpQrStUvWxYz01234567"
OPENAI = "sk-proj-" + "Ab1_" * 20 + "T3BlbkFJ" + "Cd2-" * 20 + "Z"
ANTHROPIC = "sk-ant-api03-" + "aB3-" * 23 + "aAA"
SLACK = "xoxb-" + "123456789012-1234567890123-abcDEF123456ghiJKL789mno"
GOOGLE = "AIza" + "SyA1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q"
GITLAB = "glpat-" + "abcdefghijklmnopqrst"
STRIPE = "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc"
JWT = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"
    ".eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiaWF0IjoxNTE2MjM5MDIyfQ"
    ".SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c"
)
PRIVATE_KEY = (
    "-----BEGIN RSA " + "PRIVATE KEY-----\n" + "MIIEowIBAAKCAQEA1b2c3d4e\n" * 3
    + "-----END RSA " + "PRIVATE KEY-----"
)  # fmt: skip


def full_width(text):
    return "".join(chr(ord(one) + 0xFEE0) for one in text)


def found(text, regions=("KR",)):
    return [(one.kind, text[one.start : one.end]) for one in find(text, regions)]


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("email", "메일은 hong.gildong+cafe@example.co.kr으로 주세요", "hong.gildong+cafe@example.co.kr"),
        ("email", "<name@host.com>, 그리고", "name@host.com"),
        ("email", "문의:a_b@sub.domain.org.", "a_b@sub.domain.org"),
        ("email", "hong(at)naver.com 입니다", "hong(at)naver.com"),
        ("email", "hong [at] naver [dot] com", "hong [at] naver [dot] com"),
        ("email", "hong at snu dot ac dot kr이에요", "hong at snu dot ac dot kr"),
        ("email", "hong골뱅이naver.com으로", "hong골뱅이naver.com"),
        ("email", full_width("hong@naver.com"), full_width("hong@naver.com")),
        ("email", "01012345678@naver.com", "01012345678@naver.com"),
        ("phone", "제 번호는 010-1234-5678이에요", "010-1234-5678"),
        ("phone", "01012345678로 전화 주세요", "01012345678"),
        ("phone", "010 1234 5678", "010 1234 5678"),
        ("phone", "010.1234.5678", "010.1234.5678"),
        ("phone", "010\u20131234\u20135678", "010\u20131234\u20135678"),
        ("phone", full_width("010-1234-5678"), full_width("010-1234-5678")),
        ("phone", "010-12345678", "010-12345678"),
        ("phone", "010 - 1234 - 5678", "010 - 1234 - 5678"),
        ("phone", "공일공 일이삼사 오육칠팔이에요", "공일공 일이삼사 오육칠팔"),
        ("phone", "011-234-5678", "011-234-5678"),
        ("phone", "02-123-4567", "02-123-4567"),
        ("phone", "02)1234-5678", "02)1234-5678"),
        ("phone", "(02) 1234-5678", "(02) 1234-5678"),
        ("phone", "전화 0212345678", "0212345678"),
        ("phone", "031-123-4567", "031-123-4567"),
        ("phone", "070-1234-5678", "070-1234-5678"),
        ("phone", "0505-123-4567", "0505-123-4567"),
        ("phone", "+82 10-1234-5678", "+82 10-1234-5678"),
        ("phone", "+82 (0)10-1234-5678", "+82 (0)10-1234-5678"),
        ("phone", "+821012345678", "+821012345678"),
        ("phone", "82-10-1234-5678", "82-10-1234-5678"),
        ("phone", "+1 (415) 555-2671", "+1 (415) 555-2671"),
        ("phone", "+44 20 7946 0958", "+44 20 7946 0958"),
        ("rrn", "주민번호 900101-1234568", "900101-1234568"),
        ("rrn", "900101 - 1234568", "900101 - 1234568"),
        ("rrn", "710139-9019902 is no date, 971013-5019901 is a foreigner's", "971013-5019901"),
        ("rrn", "외국인등록번호: 9710135019901", "9710135019901"),
        ("rrn", "8801012001459", "8801012001459"),
        ("rrn", "880624 2367428", "880624 2367428"),
        ("rrn", "211015-3123456", "211015-3123456"),
        ("card", "카드 4111-1111-1111-1111", "4111-1111-1111-1111"),
        ("card", "4111 1111 1111 1111", "4111 1111 1111 1111"),
        ("card", "5555555555554444", "5555555555554444"),
        ("card", "3782 822463 10005", "3782 822463 10005"),
        ("card", "2223003122003222", "2223003122003222"),
        ("card", "6250941006528599", "6250941006528599"),
        ("card", "9410-1234-5678-9010", "9410-1234-5678-9010"),
        ("iban", "Konto DE89 3704 0044 0532 0130 00 bitte", "DE89 3704 0044 0532 0130 00"),
        ("iban", "GB82WEST12345698765432", "GB82WEST12345698765432"),
        ("iban", "fr1420041010050500013m02606", "fr1420041010050500013m02606"),
        ("ip", "서버 203.0.113.27에서", "203.0.113.27"),
        ("ip", "192.168.10.24:8080", "192.168.10.24"),
        ("ip", "http://121.78.33.5/admin", "121.78.33.5"),
        ("ip", "접속: 2001:db8:85a3::8a2e:370:7334.", "2001:db8:85a3::8a2e:370:7334"),
        ("ip", "fd12:3456:789a:1::1", "fd12:3456:789a:1::1"),
        ("secret", f"export AWS_ACCESS_KEY_ID={AWS}", AWS),
        ("secret", f"token은 {GITHUB}입니다", GITHUB),
        ("secret", f"{HUGGING_FACE}", HUGGING_FACE),
        ("secret", f'OPENAI_API_KEY="{OPENAI}"', OPENAI),
        ("secret", f"키: {ANTHROPIC}", ANTHROPIC),
        ("secret", f"slack {SLACK} 확인", SLACK),
        ("secret", f"maps?key={GOOGLE}&q=1", GOOGLE),
        ("secret", f"git clone https://oauth2:{GITLAB}@gitlab.com/a/b", GITLAB),
        ("secret", f"토큰 {GITLAB}입니다", GITLAB),
        ("secret", STRIPE, STRIPE),
        ("secret", f"Authorization: Bearer {JWT}", JWT),
        ("secret", f"열쇠는\n{PRIVATE_KEY}\n입니다", PRIVATE_KEY),
        ("secret", "postgres://admin:hunter2!x@db.internal:5432/app", "hunter2!x"),
        ("secret", "비밀번호는 qwer1234!입니다", "qwer1234!"),
        ("secret", "비밀번호 8421이에요", "8421"),
        ("secret", "비번: abc12345", "abc12345"),
        ("secret", "password: P@$$w0rd1", "P@$$w0rd1"),
        ("secret", 'password = "tr0ub4dor&3"', "tr0ub4dor&3"),
        ("secret", "DB_PASSWORD=Xy7-kfp_2290", "Xy7-kfp_2290"),
        ("secret", "api_key: 9f8e7d6c5b4a39281706", "9f8e7d6c5b4a39281706"),
    ],
)  # fmt: skip
def test_found(kind, text, expected):
    assert found(text) == [(kind, expected)]
    assert kind in KINDS


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("phone", "\u0660\u0661\u0660-\u0662\u0663\u0664\u0665-\u0666\u0667\u0668\u0669", None),
        ("phone", "\u0966\u0967\u0966-\u0968\u0969\u096a\u096b-\u096c\u096d\u096e\u096f", None),
        ("phone", "번호 010-2345\u200b-6789 끝", "010-2345\u200b-6789"),
        ("phone", "010\u00ad2345\u20606789", None),
        ("phone", "0\ufe0f\u20e31\ufe0f\u20e30\ufe0f\u20e3-2345-6789", None),
        ("phone", "03\u30fc5678\u30fc1234 (일본) 02\u30fc345\u30fc6789", "02\u30fc345\u30fc6789"),
        ("phone", "010\u00b72345\u00b76789", None),
        ("phone", "010\u20032345\u20036789", None),
        ("phone", r'{"memo": "전화\n010-2345-6789"}', "010-2345-6789"),
        ("phone", r'{"memo": "\u0030\u0031\u0030-2345-6789"}', r"\u0030\u0031\u0030-2345-6789"),
        ("rrn", "900101\u200b-1234567", None),
        ("rrn", r"\t900101-1234567", "900101-1234567"),
        ("email", "https://a.io/?to=kim%40example.com&x=1", "kim%40example.com"),
        ("email", "kim&#64;example.com, kim", "kim&#64;example.com"),
        ("email", "메일 kim@exam\u200bple.com", "kim@exam\u200bple.com"),
        ("email", "홍길동@도메인.한국으로", "홍길동@도메인.한국"),
        ("email", '"kim lee"@example.com', None),
    ],
)  # fmt: skip
def test_what_is_disguised_is_found(kind, text, expected):
    assert found(text) == [(kind, expected or text)]
    assert [one.kind for one in find(text, ("KR",), 1)] != [kind]


def test_the_same_value_has_one_placeholder_however_it_is_written():
    text = "010\u200b-2345-6789\u200b, \u0660\u0661\u0660-2345-6789"
    assert mask(text, find(text, ("KR",)), {}) == "[PHONE_1], [PHONE_1]"


@pytest.mark.parametrize(
    ("named", "number", "is_one"),
    [
        ("phone", "821023456789", True),
        ("phoneNumber", "1023456789", True),
        ("전화번호", "1023456789", True),
        ("주문번호", "1023456789", False),
        ("amount", "821023456789", False),
        ("phone", "20230101", False),
    ],
)
def test_a_number_that_is_kept_as_a_number_is_a_phone_under_its_name(named, number, is_one):
    kinds = [one.kind for one in find_named(number, named, ("KR",))]
    assert kinds == (["phone"] if is_one else [])
    assert not find_named(number, named, ("KR",), 1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "안녕하세요, 커피 한 잔 주세요.",
        "가격은 12,000원이고 전부 1,234,567원입니다",
        "2026-11-21 10:30:00, 2026.11.21, 20261121, 11/21/2026",
        "주문 번호 20261121-0001234, 송장 6012-3456-7890",
        "주문번호 1234567890123456",
        "바코드 8801043014830",
        "37.5665, 126.9780",
        "3.14159265358979",
        "시간은 09:00-18:00, 12:30:45",
        "고객센터 1588-1234, 080-123-4567, +1 800 555 0199",
        "119, 112, 1345",
        "버전 1.2.3.4, v10.20.30.40, version 12.0.1.25",
        "1.2.3.4 절",
        "127.0.0.1, 0.0.0.0, ::1, 255.255.255.0, 10.0.0.0/8",
        "ISBN 0-262-03561-8, 978-0-262-03561-3, 9780262035613",
        "모델 SM-G991N, 부품 AB010-1234-5678",
        "look at this dot and at that",
        "git@github.com:owner/repository.git",
        "@handle, @app.route, icon@2x.png, lodash@4.17.21",
        "std::vector<int>, Foo::Bar, a::b",
        "00:1A:2B:3C:4D:5E",
        "4111-1111-1111-1112",
        "DE89 3704 0044 0532 0130 01",
        "901332-1234567",
        "1732147200000, 1801121234567",
        "256626720691 + 1646615806005 = 1903242526696",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "550e8400-e29b-41d4-a716-446655440000",
        "비밀번호는 8자리 이상이어야 합니다",
        "비밀번호를 잊으셨나요? 비밀번호 4자리를 넣고, 비밀번호 10회 오류",
        'password = "password", api_key="YOUR_API_KEY_123", token: <TOKEN_1>',
        "max_tokens=4096, api_key=os.environ['KEY_1'], password: ${PASSWORD1}",
        "sk-learn-is-not-a-key-at-all",
        "https://example.com/a/b?c=1",
        "0123456789",
        "1 2 3 4 5 6 7 8 9 10 11 12",
        "030-112-223-334-445-556",
    ],
)
def test_not_found(text):
    assert found(text) == []


def test_national_numbers_are_of_the_given_regions():
    text = "call (415) 555-2671 or 010-1234-5678"
    assert found(text, ["US"]) == [("phone", "(415) 555-2671")]
    assert found(text, ["KR", "US"]) == [("phone", "(415) 555-2671"), ("phone", "010-1234-5678")]
    assert found("+82 10-1234-5678", []) == [("phone", "+82 10-1234-5678")]


def test_neighbours_are_found_each():
    text = "010-1234-5678 02-123-4567 a@b.kr,c@d.kr 4111 1111 1111 1111 900101-1234568"
    assert [kind for kind, _ in found(text)] == ["phone", "phone", "email", "email", "card", "rrn"]


def test_one_value_has_one_placeholder_however_it_is_written():
    names = {}
    first = "010-1234-5678 또는 02-123-4567, HONG@naver.com"
    second = "+82 10 1234 5678, 01012345678, hong@naver.com, kim@naver.com"
    assert mask(first, find(first, ["KR"]), names) == "[PHONE_1] 또는 [PHONE_2], [EMAIL_1]"
    assert mask(second, find(second, ["KR"]), names) == "[PHONE_1], [PHONE_1], [EMAIL_1], [EMAIL_2]"


def test_a_placeholder_that_the_text_has_is_not_used_again():
    text = "[EMAIL_1] a@b.kr"
    assert mask(text, find(text, ["KR"]), {}) == "[EMAIL_1] [EMAIL_2]"


def test_a_finding_does_not_show_its_value():
    assert "1234" not in repr(find("010-1234-5678", ["KR"]))


parts = st.sampled_from(
    [
        *("010-1234-5678", "+82 10 1234 5678", "a@b.kr", "900101-1234568", "4111 1111 1111 1111"),
        *("DE89 3704 0044 0532 0130 00", "203.0.113.27", "2001:db8::1:2", AWS, "비번: abc12345"),
        *(
            "password: ",
            "https://u:pw@",
            " ",
            "-",
            ".",
            ",",
            "(",
            ")",
            "@",
            "1",
            "0",
            "+",
            "가",
            "a",
        ),
        *("\n", "골뱅이", "[EMAIL_1]", "[SECRET_1]", "=", "전화 ", "token=", "::", "-----BEGIN "),
    ]
)


@given(st.lists(parts | st.text(max_size=2), max_size=10).map("".join))
def test_findings_are_in_order_and_apart_and_gone_after_masking(text):
    findings = find(text, ["KR", "US"])
    ends = [0, *(one.end for one in findings)]
    assert all(end <= one.start < one.end for end, one in zip(ends, findings, strict=False))
    masked = mask(text, findings, {})
    assert find(masked, ["KR", "US"]) == []


@pytest.mark.parametrize("kind", KINDS)
def test_placeholders_are_not_found(kind):
    name = f"[{kind.upper()}_1]"
    assert (
        find(f"비밀번호: {name}, password={name} {name}@{name}.com token is {name}", ["KR"]) == []
    )


def test_nothing_is_asked_of_the_network():
    program = (
        "import socket\n"
        "def refuse(*args, **kwargs): raise SystemExit('network')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "from controller.data.transforms.pii.detect import find\n"
        f"print(len(find({GITHUB!r} + ' ' + {SLACK!r}, ['KR'])))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        timeout=110,
    )
    assert done.stdout.strip() == "2"


@pytest.mark.parametrize(
    ("region", "text", "expected"),
    [
        ("US", "My SSN is 536-22-8726", "536-22-8726"),
        ("US", "social security: 536228726", "536228726"),
        ("CN", "身份证号 11010519491231002X", "11010519491231002X"),
        ("JP", "マイナンバーは 123456789018 です", "123456789018"),
        ("IN", "Aadhaar 2345 6789 0124", "2345 6789 0124"),
        ("GB", "My NI number: QQ 12 34 56 C, no: AB 12 34 56 C", "AB 12 34 56 C"),
        ("DE", "Steuer-ID 36574261809", "36574261809"),
        ("FR", "n° 2 95 10 99 126 111 93", "2 95 10 99 126 111 93"),
        ("ES", "DNI 54362315-K", "54362315-K"),
        ("IT", "RCCMNL83S18D969H", "RCCMNL83S18D969H"),
        ("BR", "390.533.447-05", "390.533.447-05"),
        ("SE", "880320-0016", "880320-0016"),
        ("FI", "131052-308T", "131052-308T"),
        ("CH", "756.9217.0769.85", "756.9217.0769.85"),
        ("PL", "PESEL: 44051401359", "44051401359"),
        ("MX", "BOXW310820HNERXN09", "BOXW310820HNERXN09"),
        ("NL", "BSN 1112.22.333", "1112.22.333"),
    ],
)
def test_identity_numbers_of_the_regions_that_are_named(region, text, expected):
    assert ("national_id", expected) in found(text, (region,))
    assert "national_id" not in [kind for kind, _ in found(text, ("KR",))]


@pytest.mark.parametrize("region", REGIONS)
def test_a_regions_numbers_are_not_found_in_what_has_none(region):
    text = "주문 20241130-0012, 3 x 1,500원, 2024-11-30 12:30:45, v1.2.3, 02-123-4567, 880-123"
    assert "national_id" not in [kind for kind, _ in found(text, (region,))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("계좌는 국민은행 123456-04-123456 입니다", "123456-04-123456"),
        ("농협 302-1234-5678-91 로 보내 주세요", "302-1234-5678-91"),
        ("입금 계좌: 신한 110-123-456789", "110-123-456789"),
        ("카카오뱅크 3333-01-1234567", "3333-01-1234567"),
        ("통장번호 1002-345-678901 우리은행", "1002-345-678901"),
        ("11012345678901 은 제 계좌입니다", "11012345678901"),
    ],
)
def test_korean_accounts_beside_a_word_that_names_them(text, expected):
    assert found(text) == [("account", expected)]
    assert found(text, ("US",)) == []


@pytest.mark.parametrize(
    "text",
    [
        "계좌 이체는 2024-01-15 12:30 에 했어요",
        "입금액은 1500000000원입니다",
        "은행 대표번호 1588-1234",
        "사업자번호 123-45-67890 의 입금",
        "송장 110-123-456789",
        "20240115123000 입금",
    ],
)
def test_what_is_not_an_account(text):
    assert "account" not in [kind for kind, _ in found(text)]


def test_a_registration_number_may_be_named_after_it():
    assert found("9001011234567 은 제 주민등록번호입니다") == [("rrn", "9001011234567")]


def test_the_first_recipe_looks_for_what_it_looked_for():
    texts = ("My SSN is 536-22-8726", "계좌 123456-04-123456", "9001011234567 은 제 주민등록번호")
    for text in texts:
        assert find(text, ("KR", "US"), 1) == []


def test_the_help_of_pii_says_what_is_found_and_what_is_not():
    said = " ".join(field_texts(Prepare)["pii"].split())
    assert "Korean bank accounts next to a word that names them" in said
    assert "passports are not found" in said
    assert "bank numbers" not in said
