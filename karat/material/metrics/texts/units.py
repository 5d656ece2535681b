"""Units of text: words and marks as they stand, and each Chinese, Japanese or Korean character by itself. No language need be named."""

import re
from collections.abc import Sequence

import numpy as np

WIDE = "⺀-鿿가-힯豈-﫿︰-﹏\U00020000-\U0003fffd"
UNIT = re.compile(rf"[{WIDE}]|(?:(?![{WIDE}])\w)+|[^\w\s]")
IS_WIDE = re.compile(rf"[{WIDE}]")


def units(text: str) -> list[str]:
    """Give the words, marks and wide characters of a text."""
    return UNIT.findall(text)


def places(text: str) -> list[tuple[int, int]]:
    """Give where each unit begins and ends, in characters."""
    return [found.span() for found in UNIT.finditer(text)]


def words(text: str) -> list[str]:
    """Give the units in lower case, without the marks: what overlap with a reference is counted in."""
    return [unit for unit in units(text.lower()) if unit.isalnum()]


def grams(of: Sequence[str], n: int) -> list[tuple[str, ...]]:
    """Give all runs of `n` units."""
    return [tuple(of[place : place + n]) for place in range(len(of) - n + 1)]


def is_wide(texts: Sequence[str]) -> bool:
    """Say whether at least a third of all characters are wide: then what is between spaces is no word."""
    wide = sum(len(IS_WIDE.findall(text)) for text in texts)
    return 3 * wide >= max(1, sum(map(len, texts)))


def mixed(text: str, seed: int = 0) -> str:
    """Put the words of a text into another order; of a text without spaces, the characters."""
    between = " " if " " in text else ""
    found = text.split(between) if between else list(text)
    order = np.random.Generator(np.random.Philox([seed, len(found)])).permutation(len(found))
    return between.join(found[place] for place in order)
