"""What the studio says, in English and in Chinese. The English text stands where it is used and names the Chinese one."""

import re
from collections.abc import Sequence
from functools import cache
from itertools import count

from karat.faces.studio.chinese import CHINESE
from karat.faces.studio.chinese_errors import ERRORS
from karat.words.errors import KaratError

PLACE = re.compile(r"\{(\d*)\}")


def said(text: str, *, chinese: bool, **values: object) -> str:
    """Give a text in a person's language, with values in its places. What has no Chinese yet stays English."""
    told = CHINESE.get(text, text) if chinese else text
    return told.format(**values) if values else told


def wrong(error: KaratError, *, chinese: bool) -> tuple[str, str]:
    """Give what went wrong and what to do about it, in a person's language; what has no Chinese yet stays English."""
    return (_sentence(error.problem), _sentence(error.repair)) if chinese else (error.problem, error.repair)


def _sentence(text: str) -> str:
    """Say one sentence of an error in Chinese: by the template with the most words of its own that fits it."""
    for pattern, told in _templates():
        found = pattern.fullmatch(text)
        if found is not None:
            return _filled(told, [CHINESE.get(value.strip("'"), value) for value in found.groups()])
    return text


def _filled(told: str, values: Sequence[str]) -> str:
    place = count()
    return PLACE.sub(lambda mark: values[int(mark[1]) if mark[1] else next(place)], told)


@cache
def _templates() -> list[tuple[re.Pattern[str], str]]:
    longest_first = sorted(ERRORS.items(), key=lambda each: -len(each[0].replace("{}", "")))
    return [(re.compile("(.+?)".join(map(re.escape, english.split("{}"))), re.DOTALL), told) for english, told in longest_first]
