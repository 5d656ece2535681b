"""Personal data in English and Chinese texts: finding it by form and checksum, and taking its place by placeholders.

The checksums: resident identity numbers by GB 11643-1999 (ISO 7064, MOD 11-2), unified social credit codes by GB 32100-2015 (modulo 31),
bank cards by Luhn (ISO/IEC 7812-1). A random number of a card's length passes Luhn one time in ten, so its first digits must be those of an
issuer as well. Names of people and addresses have no form to go by, and are not looked for.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from typing import Literal, NamedTuple

Kind = Literal["email", "id-card", "credit-code", "bank-card", "plate", "ip", "phone"]
How = Literal["placeholders", "removal"]


class Span(NamedTuple):
    """Where in a text personal data stands, of which kind, and its value in one normal form."""

    kind: Kind
    first: int
    end: int
    value: str


_ALONE, _ENDS = r"(?<![A-Za-z0-9])", r"(?![A-Za-z0-9])"
_MARK = r"[A-Za-z0-9._%+-]"
_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_VERSION = "".join(rf"(?<!{word}{gap})" for word in ("ersion", "elease", "版本", "版本号", "ver.") for gap in ("", " ", ":", "："))
_REGION = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼"
_PLATE = "A-HJ-NP-Z0-9"

_FORMS: dict[Kind, str] = {
    "email": (
        rf"(?<!{_MARK})[A-Za-z0-9_%+]{_MARK}{{0,63}}(?<!\.)@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{{0,61}}[A-Za-z0-9])?\.){{1,8}}[A-Za-z]{{2,24}}{_ENDS}"
    ),
    "id-card": rf"{_ALONE}[1-9]\d{{5}}(?:18|19|20)\d{{2}}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{{3}}[\dXx]{_ENDS}",
    "credit-code": rf"{_ALONE}[1-9ANY][1-9]\d{{6}}[0-9A-HJ-NPQRTUWXY]{{10}}{_ENDS}",
    "bank-card": (
        r"(?<![A-Za-z0-9.-])(?:[2-6]\d{12,18}"
        rf"|[2-6]\d{{3}}([ -])\d{{4}}\1\d{{4}}\1\d{{4}}(?:\1\d{{3}})?|3[47]\d\d([ -])\d{{6}}\2\d{{5}}){_ENDS}"
    ),
    "plate": (
        rf"(?<![东南北])[{_REGION}][A-HJ-NP-Z][ ·•]?"
        rf"(?:[A-HJK][{_PLATE}]\d{{4}}|\d{{5}}[A-HJK]|[{_PLATE}]{{5}}|[{_PLATE}]{{4}}[挂学警港澳]){_ENDS}"
    ),
    "ip": (
        rf"(?<![A-Za-z0-9.]){_VERSION}(?:{_OCTET}\.){{3}}{_OCTET}(?![A-Za-z0-9]|\.\d|-(?:rc|alpha|beta|dev))"
        r"|(?<![A-Za-z0-9:.])(?=[0-9A-Fa-f]{0,4}:[0-9A-Fa-f]{0,4}:)[0-9A-Fa-f:]{4,39}(?![A-Za-z0-9:])"
    ),
    "phone": (
        rf"(?<![A-Za-z0-9+.-])(?:"
        r"(?:(?:\+|00)?86[ -]?)?1[3-9]\d(?:\d{8}|([ -])\d{4}\1\d{4})"
        r"|(?:\+86[ -]?)?[(（]0\d{2,3}[)）][ -]?[2-9]\d{2,3}[ -]?\d{4}(?:-\d{1,5})?"
        r"|(?:\+86[ -]?)?0?(?:10|2\d|[3-9]\d{2})-[2-9]\d{6,7}(?:-\d{1,5})?"
        r"|0(?:10|2\d|[3-9]\d{2})[2-8]\d{6,7}"
        r"|[48]00[ -]\d{3}[ -]\d{4}|[48]00-\d{4}-\d{3}"
        r"|\+[1-9]\d{0,2}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{1,4}(?:[ .-]?\d{2,4}){1,5}"
        r"|(?:\([2-9]\d{2}\) ?|[2-9]\d{2}([.-]))[2-9]\d{2}[.-]\d{4}"
        r"|0\d{2,4} \d{3,4} \d{3,4}"
        rf"){_ENDS}(?![.-]\d)"
    ),
}
"""What each kind looks like, in the order in which they are looked for: what one has taken no later one finds."""
PATTERNS: dict[Kind, re.Pattern[str]] = {kind: re.compile(form, re.ASCII) for kind, form in _FORMS.items()}
KINDS: tuple[Kind, ...] = tuple(PATTERNS)

SMALL = 32
"""Four numbers that are all below this are the version of something: hardly one address in four thousand looks so."""
WIDE = re.compile("[＋－．０-９＠Ａ-Ｚａ-ｚ]")
NARROW = {wide: wide - 0xFEE0 for wide in range(0xFF01, 0xFF5F) if WIDE.match(chr(wide))}
"""Full-width letters, digits and the signs between them to plain ones, character by character, so that places stay."""


def find(text: str, *, kinds: Sequence[Kind] = KINDS) -> list[Span]:
    """Find personal data. Spans are in the order of the text and do not overlap."""
    plain = text.translate(NARROW) if WIDE.search(text) else text
    taken = bytearray(len(plain))
    spans: list[Span] = []
    for mark, margin, alike in _SOUGHT:
        wanted = [kind for kind in alike if kind in kinds]
        for first, end in _windows(plain, mark, margin) if wanted else ():
            for kind in wanted:
                for span in _of_kind(plain, kind, first=first, end=end):
                    if taken.find(1, span.first, span.end) < 0:
                        taken[span.first : span.end] = b"\1" * (span.end - span.first)
                        spans.append(span)
    return sorted(spans, key=lambda span: span.first)


class Placeholders:
    """The names that stand for personal data: one for each value, however often it comes. What was counted stands in `counts`."""

    def __init__(self) -> None:
        self._names: dict[tuple[Kind, str], str] = {}
        self.values: dict[Kind, int] = dict.fromkeys(KINDS, 0)
        self.counts: dict[Kind, int] = dict.fromkeys(KINDS, 0)

    def name_of(self, span: Span) -> str:
        """Give the placeholder of a value: `<EMAIL_1>` for the first e-mail address that came, wherever it comes again."""
        self.counts[span.kind] += 1
        name = self._names.get((span.kind, span.value))
        if name is None:
            self.values[span.kind] += 1
            name = f"<{span.kind.upper().replace('-', '_')}_{self.values[span.kind]}>"
            self._names[span.kind, span.value] = name
        return name


def anonymised(text: str, how: How, *, known: Placeholders, kinds: Sequence[Kind] = KINDS) -> str:
    """Give a text with placeholders for the personal data in it, or without it.

    `known` carries the placeholders from text to text. It is repeated until nothing more is found, because what is left and right of a
    taken value may be one itself.
    """
    while spans := find(text, kinds=kinds):
        parts, last = [], 0
        for span in spans:
            name = known.name_of(span)
            parts += [text[last : span.first], name if how == "placeholders" else ""]
            last = span.end
        text = "".join(parts) + text[last:]
    return text


def id_card_check(digits: str) -> str:
    """Give the last character of a resident identity number, from the seventeen digits before it."""
    total = sum(int(digit) * (2 ** (17 - place) % 11) for place, digit in enumerate(digits))
    return "10X98765432"[total % 11]


def credit_code_check(code: str) -> str:
    """Give the last character of a unified social credit code, from the seventeen before it."""
    total = sum(_CREDIT.index(character) * 3**place for place, character in enumerate(code))
    return _CREDIT[-total % 31]


def luhn_check(digits: str) -> str:
    """Give the last digit of a card's number, from those before it."""
    total = sum(sum(divmod(int(digit) * (2 - place % 2), 10)) for place, digit in enumerate(reversed(digits)))
    return str(-total % 10)


_CREDIT = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_ISSUERS = re.compile(r"(?:4(?:\d{12}|\d{15}|\d{18})|5[1-5]\d{14}|2[2-7]\d{14}|3[47]\d{13}|35\d{14}|6(?:011|5\d\d)\d{12}|6[02]\d{14,17})")


_SOUGHT: tuple[tuple[re.Pattern[str], int, tuple[Kind, ...]], ...] = (
    (re.compile(r"@(?:[^@]{0,640}@)*"), 320, KINDS[:1]),
    (re.compile(r"[0-9](?:[^0-9]{0,96}[0-9])*"), 48, KINDS[1:]),
)
"""A quick sign that something may be there, and how far around it to look for which kinds: all but addresses have digits.

Signs that stand so near to each other that the looking would meet are one.
"""


def _windows(text: str, mark: re.Pattern[str], margin: int) -> Iterator[tuple[int, int]]:
    for found in mark.finditer(text):
        yield max(0, found.start() - margin), found.end() + margin


def _of_kind(text: str, kind: Kind, *, first: int, end: int) -> Iterator[Span]:
    check = _CHECKS[kind]
    for found in PATTERNS[kind].finditer(text, first, end):
        value = check(found[0])
        if value is not None:
            yield Span(kind, found.start(), found.end(), value)


def _email(found: str) -> str | None:
    return found.lower() if ".." not in found else None


def _credit_code(found: str) -> str | None:
    return found if credit_code_check(found[:17]) == found[17] else None


def _id_card(found: str) -> str | None:
    try:
        date(int(found[6:10]), int(found[10:12]), int(found[12:14]))
    except ValueError:
        return None
    return found.upper() if id_card_check(found[:17]) == found[17].upper() else None


def _bank_card(found: str) -> str | None:
    digits = re.sub(r"\D", "", found)
    return digits if _ISSUERS.fullmatch(digits) and luhn_check(digits[:-1]) == digits[-1] else None


def _plate(found: str) -> str | None:
    value = re.sub("[ ·•]", "", found)
    return value if sum(map(str.isdigit, value)) >= 3 else None


def _ip(found: str) -> str | None:
    try:
        address = ipaddress.ip_address(found)
    except ValueError:
        return None
    if address.is_loopback or address.is_unspecified or found == "255.255.255.255":
        return None
    if address.version == 4 and found[:3] != "10." and (found.startswith("0.") or max(map(int, found.split("."))) < SMALL):
        return None
    if address.version == 6 and (not re.search(r"\d", found) or len(found) < 5):
        return None
    return address.compressed


def _phone(found: str) -> str | None:
    digits = re.sub(r"\D", "", found)
    number = digits.removeprefix("00") if not found.startswith("+") else digits
    if found.startswith("+") and not 8 <= len(digits) <= 15:
        return None
    return number.removeprefix("86") if len(number) > 11 else number


_CHECKS: dict[Kind, Callable[[str], str | None]] = {
    "email": _email,
    "credit-code": _credit_code,
    "id-card": _id_card,
    "bank-card": _bank_card,
    "plate": _plate,
    "ip": _ip,
    "phone": _phone,
}
"""What each kind's value must pass; they give it in its normal form, or None."""
