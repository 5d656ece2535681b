"""Planted personal data: sentences in English and Chinese that hold some, and sentences that only seem to, to measure the finding by.

Values have valid checksums; near misses are order numbers, dates, versions, times, amounts, and numbers whose last digit is wrong. Some of
both are hard on purpose: an order number that passes Luhn cannot be told from a card, and a number that is spelt out is not found.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from karat.material.data.texts.personal import KINDS, Kind, Span, credit_code_check, find, id_card_check, luhn_check

Draw = np.random.Generator
REGIONS = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼"
PLATE_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"
CODE_LETTERS = "0123456789ABCDEFGHJKLMNPQRTUWXY"

SENTENCES: dict[str, dict[Kind, tuple[str, ...]]] = {
    "en": {
        "email": ("Please write to {} before Friday.", "Contact: {}", "My address ({}) has changed.", "from:{};to:me"),
        "phone": ("Call {} after six.", "Tel. {}, ask for Ann.", "You reach me at {}.", "phone={}"),
        "id-card": ("Her resident number is {}.", "ID: {}", "Copy {} from the card, please."),
        "bank-card": ("Charge {} once more.", "The card {} expires in May.", "card no. {}, thanks"),
        "credit-code": ("The company is registered as {}.", "USCC {}", "Put {} on the invoice."),
        "ip": ("The request came from {}.", "ssh root@host at {} failed.", "Host {} is down."),
        "plate": ("The car with {} was parked here.", "Plate: {}"),
    },
    "zh": {
        "email": ("请发邮件到{}，谢谢。", "邮箱{}已经停用", "联系人：{}", "把简历寄给{}吧"),
        "phone": ("请拨打{}联系我。", "电话：{}", "手机号是{}，晚上打。", "有事找{}找他"),
        "id-card": ("身份证号{}已登记。", "证件号码：{}", "请核对{}是否正确。"),
        "bank-card": ("卡号{}，开户行在上海。", "请把钱打到{}这张卡上。", "银行卡：{}"),
        "credit-code": ("统一社会信用代码{}。", "税号：{}", "发票抬头请写{}这家公司"),
        "ip": ("访问来自{}。", "服务器地址是{}，请勿外传。", "主机{}已下线"),
        "plate": ("车牌{}的车主请挪车。", "他开着{}走了。", "车号：{}"),
    },
}
MISSES: dict[str, tuple[str, ...]] = {
    "en": (
        "Order {order} was shipped on {date}.",
        "We run version {version} since {date}.",
        "We went from {version} to {version} at once.",
        "The meeting is at {time}, room {small}.",
        "It cost {amount} dollars in {year}.",
        "Invoice {bad_card} is open.",
        "See ISBN {isbn} on page {small}.",
        "Build {bad_id} failed.",
        "std::vector and a::b are names; {version}-rc1 is a version.",
        "Reply to @ann, not to ann@ or @example.com.",
        "pi is 3.14159265358979 and e is 2.718281828459045.",
    ),
    "zh": (
        "订单号{order}已于{date}发货。",
        "当前版本{version}，发布于{date}。",
        "从{version}升级到{version}。",
        "会议{time}开始，在{small}室。",
        "{year}年的收入为{amount}元。",
        "流水号{bad_card}有误。",
        "书号{isbn}，第{small}页。",
        "编号{bad_id}不存在。",
        "代码{bad_code}校验失败。",
        "微信号@小李，不是邮箱。",
        "他在东京A12345号展位。",
    ),
}


class Planted(NamedTuple):
    """A sentence, its language, and what stands in it."""

    text: str
    language: str
    spans: tuple[Span, ...]


class Measured(NamedTuple):
    """How much of one kind was planted, found, and found where it stands."""

    planted: int
    found: int
    right: int

    @property
    def recall(self) -> float:
        """The share of what was planted that was found."""
        return self.right / self.planted if self.planted else 1.0

    @property
    def precision(self) -> float:
        """The share of what was found that was planted."""
        return self.right / self.found if self.found else 1.0


def planted(count: int, draw: Draw) -> list[Planted]:
    """Give `count` sentences of each kind and language, and as many near misses of each language as sentences that hold something."""
    made = []
    for language, of_kind in SENTENCES.items():
        for kind, sentences in of_kind.items():
            for _ in range(count):
                before, _, after = str(draw.choice(sentences)).partition("{}")
                value = VALUES[kind](draw)
                span = Span(kind, len(before), len(before) + len(value), value)
                made.append(Planted(before + value + after, language, (span,)))
        for _ in range(count * len(of_kind)):
            sentence = str(draw.choice(MISSES[language]))
            made.append(Planted(sentence.format_map(_Misses(draw)), language, ()))
    return made


def measured(sentences: Sequence[Planted]) -> dict[tuple[Kind, str], Measured]:
    """Look for personal data in planted sentences; give for each kind and language what came of it. A span must be right to the letter."""
    sums = {(kind, language): [0, 0, 0] for kind in KINDS for language in SENTENCES}
    for sentence in sentences:
        wanted = {span[:3] for span in sentence.spans}
        found = {span[:3] for span in find(sentence.text)}
        for place, spans in enumerate((wanted, found, wanted & found)):
            for kind, _, _ in spans:
                sums[kind, sentence.language][place] += 1
    return {key: Measured(*values) for key, values in sums.items()}


def _digits(draw: Draw, count: int) -> str:
    return "".join(map(str, draw.integers(0, 10, count)))


def _one(draw: Draw, among: Sequence[str] | str) -> str:
    return str(among[int(draw.integers(len(among)))])


def _email(draw: Draw) -> str:
    name = _one(draw, ("ann", "li.wei", "j_smith", "x+news", "Zhang.San", "o-brien", "user")) + _one(draw, ("", _digits(draw, 2)))
    host = _one(draw, ("example.com", "mail.example.org", "qq.com", "uni-ulm.de", "b.co.uk", "163.com", "Example.COM", "firma.museum"))
    return f"{name}@{host}"


def _phone(draw: Draw) -> str:
    mobile = f"1{_one(draw, '3456789')}{_digits(draw, 9)}"
    line, area = f"{draw.integers(2, 9)}{_digits(draw, 7)}", _one(draw, ("010", "021", "0571", "0755"))
    north = f"{draw.integers(2, 10)}{_digits(draw, 2)}", f"{draw.integers(2, 10)}{_digits(draw, 2)}", _digits(draw, 4)
    forms = (
        mobile,
        mobile,
        f"{mobile[:3]}-{mobile[3:7]}-{mobile[7:]}",
        f"{mobile[:3]} {mobile[3:7]} {mobile[7:]}",
        f"+86 {mobile}",
        f"86-{mobile}",
        f"{area}-{line}",
        f"({area}){line}",
        f"（{area}）{line}",
        f"{area}-{line}-{_digits(draw, 3)}",
        f"400-{_digits(draw, 3)}-{_digits(draw, 4)}",
        f"({north[0]}) {north[1]}-{north[2]}",
        "-".join(north),
        f"+1 {' '.join(north)}",
        f"+44 20 {_digits(draw, 4)} {_digits(draw, 4)}",
        f"+49 (0)30 {_digits(draw, 7)}",
        f"+33 1 {' '.join(_digits(draw, 2) for _ in range(4))}",
        f"020 {_digits(draw, 4)} {_digits(draw, 4)}",
        mobile.translate({ord(digit): ord(digit) + 0xFEE0 for digit in "0123456789"}),
        f"{area}{line}",
    )
    return _one(draw, forms)


def _id_card(draw: Draw) -> str:
    born = f"{draw.integers(1930, 2020)}{draw.integers(1, 13):02}{draw.integers(1, 29):02}"
    digits = f"{draw.integers(11, 66)}{_digits(draw, 4)}{born}{_digits(draw, 3)}"
    check = id_card_check(digits)
    return digits + _one(draw, (check, check.lower()))


def _bank_card(draw: Draw) -> str:
    start, length = (("4", 16), ("51", 16), ("62", 16), ("62", 19), ("37", 15), ("6011", 16))[int(draw.integers(6))]
    digits = start + _digits(draw, length - len(start) - 1)
    digits += luhn_check(digits)
    if length == 15:
        return _one(draw, (digits, f"{digits[:4]} {digits[4:10]} {digits[10:]}"))
    mark = _one(draw, ("", "", " ", "-"))
    return mark.join(digits[place : place + 4] for place in range(0, length, 4))


def _credit_code(draw: Draw) -> str:
    code = _one(draw, ("91", "92", "12", "51", "93")) + f"{draw.integers(11, 66)}{_digits(draw, 4)}"
    code += "".join(_one(draw, CODE_LETTERS) for _ in range(9))
    return code + credit_code_check(code)


def _ip(draw: Draw) -> str:
    four = ".".join(str(octet) for octet in (draw.integers(1, 127), *draw.integers(0, 256, 3)))
    groups = [f"{part:x}" for part in draw.integers(0x1000, 0x10000, 6)]
    return _one(draw, (four, four, four, f"2001:db8:{':'.join(groups)}", f"2001:db8::{groups[0]}", f"fe80::{':'.join(groups[:4])}"))


def _plate(draw: Draw) -> str:
    region, letter = _one(draw, REGIONS), _one(draw, PLATE_LETTERS)
    energy = _one(draw, "ABCDEFGHJK")
    forms = (
        _digits(draw, 5),
        f"{_one(draw, PLATE_LETTERS)}{_digits(draw, 4)}",
        f"{_digits(draw, 2)}{_one(draw, PLATE_LETTERS)}{_digits(draw, 1)}{_one(draw, PLATE_LETTERS)}",
        f"{energy}{_digits(draw, 5)}",
        f"{energy}{_one(draw, PLATE_LETTERS)}{_digits(draw, 4)}",
        f"{_digits(draw, 5)}{energy}",
        f"{_digits(draw, 4)}{_one(draw, '挂学警')}",
    )
    return f"{region}{letter}{_one(draw, ('', '·', ' '))}{_one(draw, forms)}"


VALUES: dict[Kind, Callable[[Draw], str]] = {
    "email": _email,
    "phone": _phone,
    "id-card": _id_card,
    "bank-card": _bank_card,
    "credit-code": _credit_code,
    "ip": _ip,
    "plate": _plate,
}
"""How a valid value of each kind is drawn, in one of the forms in which people write it."""


def _order(draw: Draw) -> str:
    return _one(draw, (f"20{_digits(draw, 15)}", _digits(draw, 16), f"{draw.integers(2, 7)}{_digits(draw, 15)}", _digits(draw, 12)))


def _date(draw: Draw) -> str:
    day = f"{draw.integers(1990, 2030)}", f"{draw.integers(1, 13):02}", f"{draw.integers(1, 29):02}"
    return _one(draw, ("-", "/", ".", "")).join(day)


def _wrong(value: str, draw: Draw) -> str:
    """Give a value with another last digit than its checksum asks for."""
    return value[:-1] + _one(draw, [digit for digit in "0123456789" if digit != value[-1]])


FALSE: dict[str, Callable[[Draw], str]] = {
    "order": _order,
    "date": _date,
    "version": lambda draw: ".".join(map(str, draw.integers(0, 40, int(draw.integers(3, 5))))),
    "time": lambda draw: ":".join(f"{part:02}" for part in draw.integers(10, 60, int(draw.integers(2, 4)))),
    "amount": lambda draw: f"{draw.integers(1_000_000_000):,}.{draw.integers(10, 100)}",
    "isbn": lambda draw: f"978-7-{_digits(draw, 4)}-{_digits(draw, 4)}-{_digits(draw, 1)}",
    "small": lambda draw: str(draw.integers(1, 2000)),
    "year": lambda draw: str(draw.integers(1900, 2100)),
    "bad_card": lambda draw: _wrong(_bank_card(draw), draw),
    "bad_id": lambda draw: _wrong(_id_card(draw), draw),
    "bad_code": lambda draw: _wrong(_credit_code(draw), draw),
}
"""How what only looks like personal data is drawn."""


class _Misses(dict[str, str]):
    """What near misses are filled in with, drawn as it is asked for."""

    def __init__(self, draw: Draw) -> None:
        super().__init__()
        self._draw = draw

    def __missing__(self, name: str) -> str:
        return FALSE[name](self._draw)
