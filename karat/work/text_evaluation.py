"""Evaluation of a model of texts: what it pays for held-out texts, and what it writes, beside real texts and what needs no model.

Plain texts are begun from nothing and gone on with from held-out openings; conversations are answered, each time with the likeliest
word. Every set of made texts is held against real ones cut in the same way, with other real ones as the floor.
"""

import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Protocol, TypeVar

import torch

from karat.learning.models import Model
from karat.material.metrics import twosample  # noqa: F401 - it registers itself
from karat.material.metrics.scores import Evaluation, Resampling, Score, Side, SpaceFacts, metrics, score
from karat.material.metrics.texts import frontier, variety  # noqa: F401 - they register themselves
from karat.material.metrics.texts.copying import Copied, find_copies
from karat.material.metrics.texts.features import TextFeatures
from karat.material.metrics.texts.ngrams import NgramModel
from karat.material.metrics.texts.overlap import signatures
from karat.material.metrics.texts.units import mixed
from karat.material.trust.quoting import copy_scores
from karat.values.given import Given
from karat.values.passages import Passage
from karat.words.errors import DataError
from karat.words.events import Event, Finished, Progress, Started
from karat.words.specs import Spec
from karat.work.likelihoods import Reading, judged_score, likelihood_scores
from karat.work.reading import TextLike

T = TypeVar("T")
AS_SETS = ("c2st", "frontier", "entropy", "distinct-1", "distinct-2", "self-bleu")
AS_ANSWERS = ("chrf", "bleu", "rouge-1", "rouge-2", "rouge-l", "exact")
FEWEST = 8
"""Texts without which a set is not compared with another."""
OPENING = 4
"""A piece of text is gone on with from its first quarter."""
TRAINED = 500
"""Training texts whose pieces stand for copying."""
RETRIEVED = 20_000
"""Training conversations among which the one most like a prompt is looked for."""


class TextMeasuring(Spec):
    """How texts are measured: how often to resample, ids of a made text, and windows of held-out text that are read."""

    resamples: int = 200
    tokens: int = 128
    windows: int = 2000
    seed: int = 0


class Writer(Protocol):
    """Goes on from prompts: the beginnings of texts, or conversations to be answered. `rows` are the held-out samples they come from."""

    def __call__(self, prompts: Sequence[Passage], *, rows: Sequence[int], most: int, greedy: bool) -> list[str]: ...


@dataclass(frozen=True)
class TextReality:
    """The four splits; `train` is gone through several times, and may be larger than memory. `given`: a row for each test passage."""

    train: Iterable[Passage]
    validation: Sequence[Passage]
    test: Sequence[Passage]
    judge: Sequence[Passage]
    given: Given = field(default_factory=Given)

    @property
    def in_turns(self) -> bool:
        return bool(self.test[0].turns)


@dataclass(frozen=True)
class MadeTexts:
    """What was written in one way (`space`): after which prompts, beside what really followed, and what of it stands in training."""

    space: str
    prompts: Sequence[Passage]
    texts: Sequence[str]
    references: Sequence[str]
    copies: Sequence[Copied] = ()
    held_out_longest: int | None = None


@dataclass(frozen=True)
class TextEvaluation:
    """The scores and the texts that were scored."""

    evaluation: Evaluation
    made: Sequence[MadeTexts]


@dataclass(frozen=True)
class Task:
    """One way of writing: prompts with what really follows, other real texts for the floor, and what needs no model."""

    space: str
    prompts: Sequence[Passage]
    rows: Sequence[int]
    references: Sequence[str]
    floor: Sequence[str]
    trivial: Mapping[str, Sequence[str]]
    most: int


def evaluate_texts(
    model: Model, codec: TextLike, real: TextReality, write: Writer, options: TextMeasuring, *, count: int, follows: bool = True
) -> Generator[Event, None, TextEvaluation]:
    """Score a model of texts on the test split by `count` texts of each kind. Yields progress and returns the evaluation.

    A model that does not follow on from prompts is asked for texts from nothing alone.
    """
    began = time.monotonic()
    for name in ("validation", "test", "judge"):
        if len(getattr(real, name)) < 1:
            raise DataError(f"The {name} split holds no text.", repair="Give the split a larger share, or bring more data.")
    if real.in_turns and not follows:
        problem = f"A {model.spec.family.kind} model cannot go on from a prompt, so that it cannot be measured by answers."
        raise DataError(problem, repair="Train an autoregressive model on conversations.")
    resampling = Resampling(options.resamples, options.seed)
    yield Started(what="reading", total=1, unit="splits")
    ngrams, judge = NgramModel.fit(real.train), NgramModel.fit(real.judge)
    reading = Reading(real.train, real.test, real.given, options.windows)
    scores = likelihood_scores(model, codec, reading, ngrams, resampling)
    yield Progress(done=1, total=1, figures={each.name: each.value for each in scores})
    tasks = [task for task in _tasks(codec, real, ngrams, options, count) if follows or task.space == "from nothing"]
    judged = [text for passage in real.judge for text in _pieces(codec, passage.learnt(), options.tokens)]
    features = TextFeatures(judged, seed=options.seed)
    yield Started(what="writing", total=sum(len(task.prompts) for task in tasks), unit="texts")
    made: list[MadeTexts] = []
    for task in tasks:
        texts = write(task.prompts, rows=task.rows, most=task.most, greedy=real.in_turns)
        made.append(MadeTexts(task.space, task.prompts, texts, task.references))
        scores += _compared(task, texts, features, resampling, answers=real.in_turns)
        scores.append(judged_score(task.space, texts, task.floor, task.trivial, judge, resampling))
        yield Progress(done=sum(len(each.texts) for each in made), total=sum(len(each.prompts) for each in tasks))
    scores += _copied(made, tasks, real, resampling)
    evaluation = Evaluation(
        scores=tuple(scores),
        spaces=(SpaceFacts(name=features.name, space_digest=features.digest, width=features.width, facts=_signed(made, real)),),
        counts={"made": sum(len(each.texts) for each in made), "test": len(real.test), "validation": len(real.validation)},
        originality={},
        neighbours=(),
        options={**options.model_dump(mode="json"), "context": codec.length, "stride": max(1, codec.length // 2)},
        seconds=time.monotonic() - began,
    )
    summary = f"{len(scores)} scores of {evaluation.counts['made']} texts"
    yield Finished(what="evaluation", result=evaluation.digest(), summary=summary, figures=evaluation.figures())
    return TextEvaluation(evaluation, made)


def _copied(made: list[MadeTexts], tasks: Sequence[Task], real: TextReality, resampling: Resampling) -> Iterator[Score]:
    """Look for all texts in the training texts, in one pass; the copies are added to `made`."""
    sides = [(texts.texts, task.floor, *task.trivial.values()) for texts, task in zip(made, tasks, strict=True)]
    everything = [text for side in sides for part in side for text in part]
    found = iter(find_copies(everything, (passage.learnt() for passage in real.train)))
    for place, (task, side) in enumerate(zip(tasks, sides, strict=True)):
        copies, floor, *trivial = (list(islice(found, len(part))) for part in side)
        made[place] = replace(made[place], copies=copies, held_out_longest=max((each.longest for each in floor), default=None))
        yield from copy_scores(task.space, copies, floor, dict(zip(task.trivial, trivial, strict=True)), resampling)


def _signed(made: Sequence[MadeTexts], real: TextReality) -> dict[str, str]:
    references = [text for each in made for text in each.references if text]
    return signatures(references) if real.in_turns and references else {}


def _tasks(codec: TextLike, real: TextReality, ngrams: NgramModel, options: TextMeasuring, count: int) -> Iterator[Task]:
    """Give the ways of writing that the data allow: answers for conversations, else texts from nothing and from openings."""
    if real.in_turns:
        yield _answers(codec, real, ngrams, options, count)
        return
    most = min(options.tokens, codec.length)
    starts = [codec.text(codec.ids(passage.text)[:most]) for passage in real.test[:count]]
    if len(starts) >= FEWEST:
        floor = [codec.text(codec.ids(passage.text)[:most]) for passage in real.validation[:count]]
        trained = [codec.text(codec.ids(passage.text)[:most]) for passage in islice(real.train, len(starts))]
        prompts = [Passage()] * len(starts)
        trivial = _trivial(prompts, starts, floor or starts, trained, ngrams, options.seed)
        yield Task("from nothing", prompts, range(len(starts)), starts, floor, trivial, most)
    pieces = [(row, *halves) for row, passage in enumerate(real.test) for halves in _halves(codec, passage.text, most)]
    rows, openings, rests = zip(*_some(pieces, count, options.seed), strict=True) if pieces else ((), (), ())
    if len(rows) >= FEWEST:
        others = (real.validation, islice(real.train, TRAINED))
        found = [[rest for passage in part for _, rest in _halves(codec, passage.text, most)] for part in others]
        floor, trained = (_some(each, len(rows), options.seed) for each in found)
        prompts = [Passage(text=opening) for opening in openings]
        trivial = _trivial(prompts, rests, floor or rests, trained, ngrams, options.seed)
        yield Task("continued", prompts, rows, rests, floor, trivial, most - most // OPENING)


def _trivial(
    prompts: Sequence[Passage], real: Sequence[str], other: Sequence[str], trained: Sequence[str], ngrams: NgramModel, seed: int
) -> dict[str, Sequence[str]]:
    """Give texts that need no model, or hardly one: by runs of bytes, real ones with their words in any order, training texts."""
    longest = max(len(text.encode()) for text in real)
    made = ngrams.write(prompts, most=longest, seed=seed)
    return {"n-grams": made, "shuffled words": [mixed(text, seed) for text in other], "training": trained}


def _answers(codec: TextLike, real: TextReality, ngrams: NgramModel, options: TextMeasuring, count: int) -> Task:
    """Give the test prompts with their answers. Without a model one may give another's answer, or that to the prompt most alike."""
    test = real.test[:count]
    prompts, references = [passage.opening() for passage in test], [_last(passage) for passage in test]
    trained = list(islice(real.train, RETRIEVED))
    space = TextFeatures([passage.plain() for passage in real.judge], seed=options.seed)
    asked = space.features([prompt.plain() for prompt in prompts])
    nearest = (asked @ space.features([passage.opening().plain() for passage in trained]).T).argmax(1)
    most = max(16, min(codec.length, 2 * max(len(codec.ids(text)) for text in references) + 1))
    longest = max(len(text.encode()) for text in references)
    trivial = {
        "another's": [*references[1:], references[0]],
        "nearest training": [_last(trained[place]) for place in nearest.tolist()],
        "n-grams": ngrams.write(prompts, most=longest, seed=options.seed),
    }
    return Task("answers", prompts, range(len(test)), references, [_last(passage) for passage in real.validation[:count]], trivial, most)


def _last(passage: Passage) -> str:
    """Give the assistant's last words."""
    return next((turn.text for turn in reversed(passage.turns) if turn.role == "assistant"), "")


def _compared(task: Task, texts: Sequence[str], features: TextFeatures, resampling: Resampling, *, answers: bool) -> Iterator[Score]:
    """Compare made texts with real ones: as a set, and for answers each with its reference."""
    made, real = (features.side(each, task.references if answers else ()) for each in (texts, task.references))
    floor = features.side(task.floor) if len(task.floor) >= FEWEST else None
    trivial = {name: features.side(each, task.references if answers else ()) for name, each in task.trivial.items() if each}
    wanted = [*(AS_ANSWERS if answers else ()), *(AS_SETS if min(len(made), len(real)) >= FEWEST else ())]
    for name in wanted:
        fitting = {key: side for key, side in trivial.items() if _fits(side, made, name)}
        yield score(name, made, real, space=task.space, resampling=resampling, floor=floor, baselines=fitting)


def _fits(side: Side, made: Side, name: str) -> bool:
    """Say whether a baseline can be scored: an answer for each reference, or a set."""
    return len(side) == len(made) if "references" in metrics[name].needs else len(side) >= FEWEST


def _pieces(codec: TextLike, text: str, tokens: int) -> Iterator[str]:
    ids = codec.ids(text)
    for first in range(0, len(ids), tokens):
        yield codec.text(ids[first : first + tokens])


def _halves(codec: TextLike, text: str, tokens: int) -> Iterator[tuple[str, str]]:
    """Cut a text into pieces of at most `tokens` ids, each into its opening and the rest; pieces of a few ids are left out."""
    ids = codec.ids(text)
    for first in range(0, len(ids), tokens):
        piece = ids[first : first + tokens]
        if len(piece) >= 2 * OPENING:
            yield codec.text(piece[: len(piece) // OPENING]), codec.text(piece[len(piece) // OPENING :])


def _some(pieces: list[T], count: int, seed: int) -> list[T]:
    order = torch.randperm(len(pieces), generator=torch.Generator().manual_seed(seed))[:count]
    return [pieces[place] for place in order.tolist()]
