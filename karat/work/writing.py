"""Writing: text from a language model, token by token, as it comes.

Up to 16 texts are written at once; one that has ended makes room for the next. What a text becomes depends on its own prompt, options and
seed alone, to the bit: its prompt is read alone, each step computes its row as it would alone (see `learning/nets/decoding.py`), and each
draws from a stream of its own.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from karat.learning.families.autoregressive import Autoregressive
from karat.learning.families.choosing import choose
from karat.learning.families.family import Noise, stream_seed
from karat.learning.families.going_on import PretrainedDecoder
from karat.learning.families.pretrained import Pretrained
from karat.learning.models import Model
from karat.learning.nets.decoding import CausalDecoder, Decoder
from karat.learning.nets.matrices import Precision
from karat.values.codecs.spelling import Speller, spelling_of
from karat.values.codecs.text import ROLE_IDS, TextCodec
from karat.values.passages import Passage, check_turns
from karat.values.spaces import Space
from karat.words.errors import SpecError
from karat.work.beams import beams_of
from karat.work.constraints import Constraint, Grammars, Guide
from karat.work.holding import Held
from karat.work.orders import Finish, Order, Token, WritingOptions, Written, whole


class Vocabulary(Protocol):
    """What writing needs of a codec of texts."""

    space: Space
    tokenizer: Any

    def prompt(self, source: str | Passage) -> list[int]: ...


class Writer:
    """Writes with a model, whose weights it copies into the form that writes fastest: when the model has learnt more, make a new one."""

    def __init__(
        self,
        model: Model,
        codec: Vocabulary,
        *,
        reward: Callable[[Passage, str], float] | None = None,
        precision: Precision = "float32",
    ) -> None:
        self.codec, self.decoder, self.reward = codec, decoder_of(model, precision), reward
        spelling = spelling_of(codec.tokenizer)
        self.spelling = [*spelling, *[b""] * (self.decoder.vocab - len(spelling))]
        self.marks = frozenset(ROLE_IDS.values() if isinstance(codec, TextCodec) else ())
        self.unmarked = torch.tensor([id not in self.marks for id in range(self.decoder.vocab)])
        self._grammars: Grammars | None = None

    def write(self, orders: Sequence[Order]) -> Iterator[Token]:
        """Write some texts and give each token as it comes; those of different texts come in turns. Stop by closing the iterator.

        Raises SpecError for a prompt that leaves no room, contradicting options and constraints that cannot be met.
        """
        yield from self.write_lines([self.line(number, order) for number, order in enumerate(orders)])

    def write_lines(self, lines: Sequence["Line"], more: Callable[[], Sequence["Line"]] = lambda: ()) -> Iterator[Token]:
        """Write texts that were made ready, and those that `more` brings while there is room.

        Those that are dropped on the way end without a last token.
        """
        known = list(lines)

        def joining() -> list[Line]:
            joined = more()
            known.extend(joined)
            return [line for line in joined if not line.is_searched]

        yield from Desk(self, [line for line in lines if not line.is_searched], joining).write()
        for line in known:
            if line.dropped:
                continue
            if line.options.beams > 1:
                yield from self._searched(line)
            elif line.options.best_of > 1:
                yield from self._best(line)

    def written(self, orders: Sequence[Order]) -> list[Written]:
        """Give the whole texts that `write` writes."""
        tokens: list[list[Token]] = [[] for _ in orders]
        for token in self.write(orders):
            tokens[token.order].append(token)
        return [whole(each) for each in tokens]

    def line(self, number: int, order: Order) -> "Line":
        """Make a text ready to be written. Raises SpecError as `write` does."""
        order.options.check()
        if order.options.by and self.reward is None:
            raise SpecError("The reward that is to choose is not at hand.", repair="Leave out `by`, or write by `karat generate`.")
        if isinstance(order.prompt, Passage) and order.prompt.turns:
            check_turns(order.prompt.turns)
        ids = self.codec.prompt(order.prompt) if isinstance(order.prompt, Passage | str) else list(order.prompt)
        longest, most = self.decoder.longest, order.options.most
        if len(ids) >= longest:
            if order.options.truncate == "refuse":
                raise SpecError(
                    f"The prompt is {len(ids):,} tokens long; the model reads {longest:,} with what it writes.",
                    repair="Shorten it, or let its front be left out: `--set truncate=front`.",
                )
            ids = ids[-max(1, longest - (most or longest // 4)) :]
        most = min(most or longest, longest - len(ids))
        constraint = order.options.constraint
        guide = self._guide(constraint, most) if constraint else None
        turns = isinstance(order.prompt, Passage) and bool(order.prompt.turns)
        return Line(number, order, ids, most, frozenset({0, *self.marks}) if turns else frozenset({0}), guide)

    def _guide(self, constraint: Constraint, most: int) -> Guide:
        self._grammars = self._grammars or Grammars(self.codec.tokenizer, self.decoder.vocab)
        return self._grammars.begin(constraint, most)

    def _best(self, line: "Line") -> Iterator[Token]:
        """Give the best of several texts, by the reward or else by how likely its tokens are; the first is as it would be alone."""
        order, (seed, index) = line.order, line.order.seed
        options = order.options.changed(best_of=1, by=None, logprobs=order.options.logprobs or 0)
        seeds = [order.seed, *((stream_seed(seed, index), place) for place in range(1, order.options.best_of))]
        tried: list[list[Token]] = [[] for _ in seeds]
        for token in self.write([Order(order.prompt, options, each, order.given) for each in seeds]):
            tried[token.order].append(token)
        best = max(tried, key=lambda tokens: self._worth(order, tokens))
        asked = order.options.logprobs is not None
        yield from (token._replace(order=line.number, logprob=token.logprob if asked else None) for token in best)

    def _worth(self, order: Order, tokens: Sequence[Token]) -> tuple[bool, float]:
        """Say what one of several texts is worth; a reward reads whole ones, so those that were cut off come last."""
        if self.reward is None:
            return True, sum(token.logprob or 0 for token in tokens) / len(tokens)
        opening = order.prompt if isinstance(order.prompt, Passage) else Passage(text=str(order.prompt))
        return tokens[-1].finish != "length", self.reward(opening, "".join(token.text for token in tokens))

    def _searched(self, line: "Line") -> Iterator[Token]:
        """Give the likeliest text that a beam search finds."""
        first = self.decoder.begin(0, line.prompt, line.order.given)
        barred = [] if line.is_talk else sorted(self.marks)
        ids, logprobs = beams_of(self.decoder, first, line.ends, line.most, line.options, barred)
        speller, held = Speller(self.spelling), Held(line.options.stop)
        asked = line.options.logprobs is not None
        for place, (id, logprob) in enumerate(zip(ids, logprobs, strict=True)):
            last = place + 1 == len(ids)
            text = held.say(speller.say(id) + (speller.rest() if last else ""))
            ended = held.stopped or id in line.ends
            finish: Finish | None = "stop" if ended else "length" if last else None
            yield Token(line.number, id, text + (held.rest() if last else ""), logprob if asked else None, (), finish)
            if ended:
                return


@dataclass
class Line:
    """A text while it is written."""

    number: int
    order: Order
    prompt: list[int]
    most: int
    ends: frozenset[int]
    guide: Guide | None
    made: int = 0
    dropped: bool = False
    """Set by who wants no more of it."""

    def __post_init__(self) -> None:
        self.options = self.order.options
        self.is_talk = len(self.ends) > 1
        self.is_searched = self.options.beams > 1 or self.options.best_of > 1

    def begin(self, spelling: Sequence[bytes]) -> None:
        self.speller, self.held = Speller(spelling), Held(self.options.stop)
        self.drawn: list[float] = Noise([self.order.seed]).uniform(self.most)[0].tolist()

    def take(self, id: int, logprob: float | None, likeliest: tuple[tuple[int, float], ...]) -> Token:
        """Take the next id and say what it adds. Raises SpecError where a constraint was not met in time."""
        self.made += 1
        finish: Finish | None = None
        if id in self.ends:
            finish = "stop" if self.guide is None else "constraint"
            text = self.held.say(self.speller.rest()) + self.held.rest()
            return Token(self.number, id, text, logprob, likeliest, finish)
        text = self.held.say(self.speller.say(id))
        if self.held.stopped:
            finish = "stop"
        elif self.guide is not None and self.guide.ended:
            finish = "constraint"
        elif self.made == self.most:
            finish = "length"
            if self.guide is not None and not self.guide.whole:
                raise SpecError(
                    f"The text did not become what it must be within {self.most} tokens.", repair="Allow more tokens with most."
                )
        if finish is not None and not self.held.stopped:
            text += self.held.say(self.speller.rest()) + self.held.rest()
        return Token(self.number, id, text, logprob, likeliest, finish)


class Desk:
    """The rows that are written at once, and those that wait."""

    def __init__(self, writer: Writer, lines: Sequence[Line], more: Callable[[], Sequence[Line]] = lambda: ()) -> None:
        self.writer, self.decoder, self.waiting, self.more = writer, writer.decoder, list(reversed(lines)), more
        self.rows: list[Line] = []
        self.logits = torch.empty(0)
        self.seen: Tensor | None = None

    def write(self) -> Iterator[Token]:
        """Give the tokens of all lines."""
        while self.rows or self.waiting:
            if len(self.rows) + len(self.waiting) < self.decoder.rows:
                self.waiting = [*reversed(self.more()), *self.waiting]
            self._fill()
            ids, logprobs, likeliest = self._chosen()
            tokens = []
            for row, line in enumerate(self.rows):
                id = ids[row] if line.guide is None else line.guide.take(ids[row])
                own = logprobs[row] if line.options.logprobs is not None else None
                if own is not None and id != ids[row]:
                    own = float(self.logits[row].log_softmax(-1)[id])
                ids[row] = id
                tokens.append(line.take(id, own, likeliest[row]))
            yield from tokens
            kept = [row for row, token in enumerate(tokens) if token.finish is None and not self.rows[row].dropped]
            self.waiting = [line for line in self.waiting if not line.dropped]
            self._keep(kept)
            if kept:
                self._step([ids[row] for row in kept])

    def _fill(self) -> None:
        """Let waiting lines begin where rows are free. A prompt that the line before has as well is read once."""
        before: Line | None = None
        fresh: list[Tensor] = []
        while self.waiting and len(self.rows) < self.decoder.rows:
            line, row = self.waiting.pop(), len(self.rows)
            line.begin(self.writer.spelling)
            if before is not None and before.prompt == line.prompt and before.order.given is line.order.given:
                self.decoder.arrange([*range(row), row - 1])
                fresh.append(fresh[-1])
            else:
                fresh.append(self.decoder.begin(row, line.prompt, line.order.given).cpu())
            if self.seen is None and line.options.repetition_penalty != 1:
                self.seen = torch.zeros(self.decoder.rows, self.decoder.vocab, dtype=torch.bool)
            if self.seen is not None:
                self.seen[row] = False
                self.seen[row, line.prompt] = True
            self.rows.append(line)
            before = line
        if fresh:
            self.logits = torch.stack([*self.logits, *fresh])

    def _keep(self, kept: list[int]) -> None:
        if len(kept) == len(self.rows):
            return
        self.rows = [self.rows[row] for row in kept]
        self.logits = self.logits[kept]
        self.decoder.arrange(kept)
        if self.seen is not None:
            self.seen[: len(kept)] = self.seen[kept]

    def _step(self, ids: list[int]) -> None:
        if self.seen is not None:
            self.seen[torch.arange(len(ids)), torch.tensor(ids)] = True
        self.logits = self.decoder.step(ids).cpu()

    def _chosen(self) -> tuple[list[int], list[float], list[tuple[tuple[int, float], ...]]]:
        """Choose an id for each row, and give what was asked for of log-probabilities."""
        ids = [0] * len(self.rows)
        for options, rows in self._alike():
            drawn = torch.tensor([self.rows[row].drawn[self.rows[row].made] for row in rows])
            seen = None if self.seen is None else self.seen[rows]
            logits = self.logits if len(rows) == len(self.rows) else self.logits[rows]
            chosen = choose(logits, options, drawn, seen_BV=seen, allowed_BV=self._allowed(rows)).tolist()
            for row, id in zip(rows, chosen, strict=True):
                ids[row] = id
        logprobs: list[float] = [0.0] * len(ids)
        likeliest: list[tuple[tuple[int, float], ...]] = [()] * len(ids)
        most = max((line.options.logprobs or 0 for line in self.rows), default=0)
        if any(line.options.logprobs is not None for line in self.rows):
            logs = self.logits.log_softmax(-1)
            logprobs = logs.gather(-1, torch.tensor(ids)[:, None])[:, 0].tolist()
            if most:
                values, places = logs.topk(min(most, logs.shape[-1]))
                both = zip(self.rows, places.tolist(), values.tolist(), strict=True)
                likeliest = [tuple(zip(named, valued, strict=True))[: line.options.logprobs or 0] for line, named, valued in both]
        return ids, logprobs, likeliest

    def _alike(self) -> list[tuple[WritingOptions, list[int]]]:
        """Give the rows that are chosen for in the same way together."""
        found: list[tuple[WritingOptions, list[int]]] = []
        for row, line in enumerate(self.rows):
            same = next((rows for options, rows in found if options is line.options or options == line.options), None)
            if same is None:
                found.append((line.options, [row]))
            else:
                same.append(row)
        return found

    def _allowed(self, rows: list[int]) -> Tensor | None:
        """Say which ids may follow: marks only in a conversation, and what the constraints allow."""
        bound = [(place, self.rows[row]) for place, row in enumerate(rows)]
        if not self.writer.marks and all(line.guide is None for _, line in bound):
            return None
        allowed = self.writer.unmarked.repeat(len(rows), 1)
        for place, line in bound:
            if line.guide is not None:
                allowed[place] = line.guide.allowed()
            elif line.is_talk:
                allowed[place] = True
        return allowed


def decoder_of(model: Model, precision: Precision = "float32") -> Decoder:
    """Give what steps a model. Raises SpecError for a family that does not write token by token, or not in this precision."""
    if isinstance(model.family, Autoregressive) and len(model.space.shape) == 1 and model.space.is_ids:
        return CausalDecoder(model.family.net, precision)
    if isinstance(model.family, Pretrained):
        if precision != "float32":
            raise SpecError(f"A pretrained model does not write in {precision}.", repair="Leave out precision.")
        return PretrainedDecoder(model.family)
    raise SpecError(
        f"A model of the family {model.spec.family.kind} does not write token by token.",
        repair="Write with a model of the family autoregressive or pretrained.",
    )
