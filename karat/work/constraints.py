"""Constraints: text that is bound to be JSON of a schema, one of some choices, or what a regular expression describes.

llguidance says after each id which ids may follow. So that the text ends in time, the shortest way to an end is known before the first
id is drawn, and near the limit an id is drawn only if a way to an end fits behind it.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from karat.words.errors import SpecError
from karat.words.specs import Spec

NEAR = 48
"""Near the limit is where so many ids more are left than the shortest way to an end has at the beginning."""
THOROUGH, QUICK = (6, 128), (2, 48)
"""How many states are followed at once, and ids tried from each, in looking for a way: before the first id, and between two."""


class Constraint(Spec):
    """What the text must be: exactly one of the three."""

    json_schema: dict[str, Any] | None = None
    choice: tuple[str, ...] = ()
    regex: str | None = None

    def grammar(self) -> str:
        """Give it in the form that llguidance reads. Raises SpecError where a part of it is missing."""
        from llguidance import LLMatcher

        if self.json_schema is not None:
            try:
                return LLMatcher.grammar_from_json_schema(json.dumps(self.json_schema), overrides={"whitespace_flexible": False})
            except ValueError as error:
                raise _impossible(str(error)) from None
        if self.regex is not None:
            return LLMatcher.grammar_from_regex(self.regex)
        if not all(self.choice):
            raise SpecError("A choice is empty.", repair="Leave it out, or write what it should say.")
        return LLMatcher.grammar_from_regex("|".join(re.escape(each) for each in self.choice))


class Grammars:
    """Constraints over one vocabulary, whose ids it looks through once."""

    def __init__(self, tokenizer: Any, vocab: int) -> None:
        try:
            from llguidance import LLTokenizer
        except ImportError:
            raise SpecError("Constraints need a library that is not installed.", repair='Install it: pip install "karat[text]".') from None
        self.tokenizer = LLTokenizer(tokenizer.to_str(), n_vocab=vocab, eos_token=0)
        self.vocab = vocab
        # Ids of one byte and short ones reach every text; they come first where ways are looked for.
        self.handy = torch.tensor(sorted(range(1, vocab), key=lambda id: (len(self.tokenizer.decode_bytes([id])), id)))

    def begin(self, constraint: Constraint, most: int) -> "Guide":
        """Give the guide of one text of at most so many ids. Raises SpecError for what cannot be met, or cannot end in time."""
        from llguidance import LLMatcher

        matcher = LLMatcher(self.tokenizer, constraint.grammar())
        if matcher.is_error():
            raise _impossible(matcher.get_error())
        return Guide(self, matcher, most)


class Guide:
    """The ids that may follow, for one text."""

    def __init__(self, grammars: Grammars, matcher: Any, most: int) -> None:
        self.left, self._grammars, self._matcher = most, grammars, matcher
        self._way = self._way_from(matcher, most, THOROUGH)
        if self._way is None:
            raise SpecError(
                f"What the text must be does not fit into {most} tokens.", repair="Allow more tokens with most, or ask for less."
            )
        self._near = len(self._way) + NEAR

    def allowed(self) -> Tensor:
        """Say of each id (V,) whether it may follow; 0 where the text may end."""
        return _unpacked(self._matcher.compute_bitmask(), self._grammars.vocab)

    def take(self, id: int) -> int:
        """Take the id that was drawn and give the one that follows: another where the text could not end in time behind it."""
        if id != 0 and self.left <= self._near:
            id = self._in_time(id)
        else:
            self._way = None
        if id != 0:
            self._matcher.consume_token(id)
        self.left -= 1
        return id

    @property
    def ended(self) -> bool:
        """Whether nothing but an end can follow."""
        return bool(self._matcher.is_stopped() or (self.whole and not self.allowed()[1:].any()))

    @property
    def whole(self) -> bool:
        """Whether the text meets the constraint as it stands."""
        return bool(self._matcher.is_accepting())

    def _in_time(self, id: int) -> int:
        """Give the id if a way to an end fits behind it, else the first one of the way that does."""
        known = self._way if self._way is not None else self._way_from(self._matcher, self.left, QUICK)
        if known and known[0] == id:
            self._way = known[1:]
            return id
        after = self._matcher.deep_copy()
        after.consume_token(id)
        self._way = self._way_from(after, self.left - 1, QUICK)
        if self._way is not None or known is None:
            return id
        self._way = known[1:]
        return known[0] if known else 0

    def _way_from(self, matcher: Any, most: int, effort: tuple[int, int]) -> list[int] | None:
        """Look for a short way to where the text may end; None if none of at most so many ids is found.

        Breadth first: of the states after so many ids that allow the same ids one is followed, and first those that allow the fewest.
        """
        if matcher.is_accepting():
            return []
        width, tried = effort
        handy = self._grammars.handy
        states: list[tuple[Any, list[int], bytes]] = [(matcher, [], matcher.compute_bitmask())]
        for _ in range(most):
            following: dict[bytes, tuple[Any, list[int], bytes]] = {}
            for state, way, bits in states:
                for id in handy[_unpacked(bits, self._grammars.vocab)[handy]][:tried].tolist():
                    after = state.deep_copy()
                    after.consume_token(id)
                    if after.is_accepting():
                        return [*way, id]
                    bits_after = after.compute_bitmask()
                    following.setdefault(bits_after, (after, [*way, id], bits_after))
            states = sorted(following.values(), key=lambda each: sum(map(int.bit_count, each[2])))[:width]
        return None


def _unpacked(bitmask: bytes, vocab: int) -> Tensor:
    bits = torch.frombuffer(bytearray(bitmask), dtype=torch.uint8)
    return ((bits[:, None] >> torch.arange(8, dtype=torch.uint8)) & 1).flatten()[:vocab].bool()


def _impossible(reason: str) -> SpecError:
    said = " ".join(reason.split())[:200].rstrip(".")
    return SpecError(f"No text can be what is asked for: {said}.", repair="Correct the schema, the choices or the expression.")


def constraint_of(json_schema: dict[str, Any] | None, choice: Sequence[str], regex: str | None) -> Constraint | None:
    """Give the constraint that is asked for, None where none is. Raises SpecError for more than one."""
    asked = [name for name, value in (("json_schema", json_schema), ("choice", choice), ("regex", regex)) if value not in (None, (), [])]
    if len(asked) > 1:
        raise SpecError(f"A text cannot be bound by {' and '.join(asked)} at once.", repair="Keep one of them.")
    return Constraint(json_schema=json_schema, choice=tuple(choice), regex=regex) if asked else None
