"""Words by which a thing can be found: as they stand in a text, small, and each sign of a script that has no spaces by itself."""

import re
from typing import Any

MOST_WORDS, LONGEST = 64, 40
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")


def words_of(value: Any) -> set[str]:
    """Give the words of all texts in a JSON value, the first ones where there are very many."""
    found: dict[str, None] = {}
    waiting = [value]
    while waiting and len(found) < MOST_WORDS:
        each = waiting.pop(0)
        if isinstance(each, str):
            found |= dict.fromkeys(word.casefold()[:LONGEST] for word in _WORD.findall(each[:4_000]))
        elif isinstance(each, dict):
            waiting += each.values()
        elif isinstance(each, list | tuple):
            waiting += each
    return set(list(found)[:MOST_WORDS])
