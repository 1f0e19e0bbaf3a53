"""Personal data and secrets, with the checksums of their issuers."""

import json
import random
from base64 import urlsafe_b64encode

from tests.planted.clean_rows import EN_NOUNS, clean_rows
from tests.planted.records import Problem, line


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
