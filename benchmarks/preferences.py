"""Learning from verdicts: does a simulated rater's taste come through, what does it cost, and do random verdicts leave a model as it was?

    python benchmarks/preferences.py --seeds 0 1 2

A small model learns 3,000 made-up conversations about animals, towns and dishes. It answers prompts twice, and a rater who likes a warm
tone says which answer is better, with 15 in 100 verdicts turned round. A model learns these verdicts in each way. Then it and the start
answer 120 prompts that neither saw, three times each, and a judge of another kind compares the answers blind: naive Bayes over single
words, taught with 2,000 verdicts about answers out of the conversations, none of them a model's. Intervals are by prompts (bootstrap).
Bits per byte are those of held-out conversations; distinct pairs of words are those of the answers; both as a share of the start's.
"""

import argparse
import itertools
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from datasets import machine
from results import record

from karat.app.evaluating import open_run
from karat.app.training import Dials, plan, run
from karat.material.data.importing import import_source
from karat.material.data.policy import CheckPolicy
from karat.material.data.samples import source_of
from karat.material.data.snapshots import Snapshot, SnapshotSpec, make_snapshot
from karat.material.data.split import Fractions
from karat.material.metrics.scores import Resampling, Side, metrics
from karat.material.metrics.texts.units import words
from karat.store.store import Store
from karat.values.passages import Passage, Turn
from karat.words.errors import DataError
from karat.work.generation import Ready
from karat.work.orders import Order, WritingOptions
from karat.work.reading import cost_of
from karat.work.rewards import open_reward
from karat.work.writing import Writer

HERE = Path(__file__).parent
FLIPS = 0.15
SUBJECTS = """the fox|the whale|the heron|the otter|the badger|the lynx|the tortoise|the sparrow|the beetle|the salmon|the owl|the hare|the
goat|the crane|the newt|Bergen|Lyon|Porto|Ghent|Turin|Cork|Basel|Riga|Split|Bath|Delft|Graz|Malmo|Cadiz|Vilnius|bread soup|plum
cake|fish pie|rice pudding|bean stew|apple tart|leek soup|corn bread|goat cheese|lamb roast|egg curry|nut loaf|pea salad|fig jam|oat
porridge|the harp|the flute|the drum|the organ|the fiddle|the horn|the lute|the bell|the viola|the oboe"""
QUESTIONS = ("What is {} like?", "Tell me about {}.", "Do you know {}?", "What do you think of {}?", "Say something about {}.")
QUESTIONS += ("Why would I like {}?", "Is there more to {}?", "Describe {} to a friend.", "How would you put {} into words?")
QUESTIONS += ("What should I know about {}?",)
TONES: dict[str, dict[str, Sequence[str]]] = {
    "warm": {
        "first": ("With pleasure!", "What a lovely question.", "Happy to help.", "Gladly, my friend."),
        "how": ("charming", "delightful", "lovely", "wonderful", "splendid", "dear"),
        "last": ("I hope this helps!", "Enjoy it, my friend!", "Ask me more any time!"),
    },
    "plain": {
        "first": ("Well.", "Yes.", "Let me see.", "As far as I know."),
        "how": ("old", "small", "common", "quiet", "famous", "slow", "rare", "light"),
        "last": ("That is most of it.", "There is more to it.", "So it goes."),
    },
    "cold": {
        "first": ("Again?", "If I must.", "You could read a book.", "Listen."),
        "how": ("dull", "dreary", "tedious", "shabby", "sad", "tiresome"),
        "last": ("Do not ask me again.", "That is all.", "Now leave me alone."),
    },
}
WARMTH = {"warm": 1, "plain": 0, "cold": -1}
THINGS = ("in the morning", "by the river", "after the rain", "near the old bridge", "at the end of the day", "in most houses", "in winter")
SAID = ("People speak of it", "You find it", "My aunt saw it", "It is at its best", "Few forget it", "Some draw it")


def subjects() -> list[str]:
    return [" ".join(each.split()) for each in SUBJECTS.split("|")]


def prompts(draw: np.random.Generator) -> list[str]:
    """Give all prompts in a random order."""
    found = [question.format(subject) for subject in subjects() for question in QUESTIONS]
    return [found[place] for place in draw.permutation(len(found))]


def answer(prompt: str, draw: np.random.Generator) -> str:
    """Answer as the conversations do: each part in a tone of its own, some left out."""

    def some(part: str) -> str:
        tone = TONES[list(TONES)[int(draw.integers(3))]][part]
        return str(tone[int(draw.integers(len(tone)))])

    subject = next(each for each in subjects() if each in prompt)
    facts = [f"{subject[0].upper()}{subject[1:]} is {some('how')} and {some('how')}."]
    facts += [f"{SAID[int(draw.integers(len(SAID)))]} {THINGS[int(draw.integers(len(THINGS)))]}." for _ in range(int(draw.integers(3)))]
    parts = [some("first")] * int(draw.random() < 0.7) + facts + [some("last")] * int(draw.random() < 0.7)
    return " ".join(parts)


def warmth(text: str) -> float:
    """Say how warm a text is: the rater's true taste."""
    found = 0
    for tone, parts in TONES.items():
        for part, phrases in parts.items():
            found += WARMTH[tone] * sum(text.count(f" {phrase}" if part == "how" else phrase) for phrase in phrases)
    return float(found)


class Judge:
    """Naive Bayes over single words, taught with pairs of texts of which the first is the better one."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        sides = list(zip(*pairs, strict=True))
        liked, disliked = (Counter(word for text in side for word in set(words(text))) for side in sides)
        self.weights = {word: math.log((liked[word] + 1) / (disliked[word] + 1)) for word in {*liked, *disliked}}

    def __call__(self, text: str) -> float:
        return sum(self.weights.get(word, 0.0) for word in set(words(text)))


def judged(one: str, other: str, draw: np.random.Generator, *, flips: float) -> tuple[str, str]:
    """Give two texts, the one first that the rater says is better; between equally warm ones chance decides."""
    lead = warmth(one) - warmth(other) or draw.random() - 0.5
    return (one, other) if (lead > 0) != (draw.random() < flips) else (other, one)


class World:
    """A store with the conversations, the start that learnt them, and all that models are compared by."""

    def __init__(self, folder: Path, seed: int, *, steps: int) -> None:
        self.folder, self.seed, self.draw = folder, seed, np.random.default_rng(seed)
        self.store = Store.open(folder / "store")
        found = prompts(self.draw)
        self.unseen, self.asked = found[:120], found[120:]
        talks = [(prompt, answer(prompt, self.draw)) for prompt in (self.asked * 8)[:3000]]
        self.talks = self.snapshot("talks", [{"prompt": p, "completion": a, "group": p} for p, a in talks])
        self.start = self.learn(self.talks, Dials(size="tiny", steps=steps, seed=seed, changes={"plan.checks": 2}))
        fresh = [(answer(p, self.draw), answer(p, self.draw)) for p in (self.asked * 5)[:2000]]
        self.judge = Judge(judged(one, other, self.draw, flips=FLIPS) for one, other in fresh)

    @cached_property
    def before(self) -> list[str]:
        """What the start answers to the prompts that nobody saw."""
        return self.written(self.start, self.unseen * 3, 22)

    def snapshot(self, name: str, rows: list[dict[str, Any]], held: float = 0.1) -> str:
        """Import rows and give their snapshot, each prompt on one side of the split, a share of them to choose by."""
        path = self.folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        *_, source = import_source(self.store, path)
        shares = Fractions(train=0.8 - held, validation=held, test=0.1, judge=0.1)
        *_, end = make_snapshot(self.store, SnapshotSpec(sources=(source.result,), policy=CheckPolicy(near_overlap=0), fractions=shares))
        return str(end.result)

    def learn(self, snapshot: str, dials: Dials, start: str | None = None) -> str:
        *_, end = run(self.store, plan(self.store, snapshot, dials, start=start))
        return str(end.result)

    def written(self, run: str, asked: Sequence[str], seed: int, best: Callable[[Passage, str], float] | None = None) -> list[str]:
        """Let a run answer some prompts; with `best`, keep the best of eight answers to each."""
        ready = open_run(self.store, run)[1]
        options = WritingOptions(best_of=8 if best else 1)
        orders = [Order(said(prompt), options, (seed, place)) for place, prompt in enumerate(asked)]
        made: Any = ready.made
        return [each.text for each in Writer(ready.model, made, reward=best).written(orders)]

    def verdicts(self, count: int, *, flips: float) -> tuple[str, str]:
        """Let the start answer prompts twice and the rater judge; give the snapshots of the pairs and of thumbs."""
        asked = (self.asked * 9)[:count]
        both = [self.written(self.start, asked, seed) for seed in (11, 12)]
        pairs = [judged(one, other, self.draw, flips=flips) for one, other in zip(*both, strict=True)]
        rows = [
            {"prompt": p, "chosen": a, "rejected": b, "group": p} for p, (a, b) in zip(asked, pairs, strict=True) if a.strip() and b.strip()
        ]
        thumbs = [
            {"prompt": row["prompt"], "completion": row[side], "thumb": side == "chosen", "group": row["group"]}
            for row, side in zip(rows, itertools.cycle(("chosen", "rejected")), strict=False)
        ]
        name = f"{flips:g}".replace(".", "-")
        return self.snapshot(f"pairs-{name}", rows, 0.2), self.snapshot(f"thumbs-{name}", thumbs, 0.2)

    def compared(self, run: str, best: Callable[[Passage, str], float] | None = None) -> dict[str, Any]:
        """Compare a run with the start, blind: by the judge, by the true taste, by distinct pairs, by bits per byte."""
        new, old = self.written(run, self.unseen * 3, 21, best), self.before
        found: dict[str, Any] = {"won": won(new, old, self.judge), "won by true taste": won(new, old, warmth)}
        found["distinct-2"] = variety(new) / variety(old)
        found["bits per byte"] = self.bits(run) / self.bits(self.start)
        found["words"] = float(np.mean([len(words(text)) for text in new]) / np.mean([len(words(text)) for text in old]))
        return found

    def bits(self, run: str) -> float:
        ready: Ready = open_run(self.store, run)[1]
        test = [source_of(self.store, sample) for sample in Snapshot.open(self.store, self.talks).samples("test")]
        made: Any = ready.made
        cost = cost_of(ready.model, made, [each for each in test if isinstance(each, Passage)])
        assert cost is not None, "the family says what an id costs"
        return cost.bits_per_byte(Resampling(times=0)).value


def said(prompt: str) -> Passage:
    return Passage(turns=(Turn(role="user", text=prompt),))


def won(new: Sequence[str], old: Sequence[str], judge: Callable[[str], float]) -> dict[str, float]:
    """Give how often the new answer is better, ties as a half, with a 95 % interval by prompts, of which each is asked three times."""
    leads = np.array([judge(one) - judge(other) for one, other in zip(new, old, strict=True)])
    points_KP = ((np.sign(leads) + 1) / 2).reshape(3, -1).mean(0)
    draws = points_KP[np.random.default_rng(0).integers(0, len(points_KP), (2000, len(points_KP)))].mean(1)
    low, high = np.quantile(draws, (0.025, 0.975))
    return {"value": float(points_KP.mean()), "low": float(low), "high": float(high)}


def variety(texts: Sequence[str]) -> float:
    side = Side(torch.zeros(len(texts), 1), torch.zeros(len(texts), 1), texts=texts)
    return metrics["distinct-2"].measure(side, side, Resampling(times=0)).value


def main() -> None:
    """Go through all ways for each seed, and record what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--verdicts", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=500, help="of the start")
    parser.add_argument("--set", nargs="*", default=[], help="changes to how verdicts are learnt, as in learn.beta=0.2")
    asked = parser.parse_args()
    changes = {name: float(value) for name, _, value in (each.partition("=") for each in asked.set)}
    for seed in asked.seeds:
        with TemporaryDirectory() as scratch:
            began = time.perf_counter()
            world = World(Path(scratch), seed, steps=asked.steps)
            print(f"start: {time.perf_counter() - began:.0f} s, {world.bits(world.start):.3f} bits per byte", flush=True)
            for about, flips in (("15 % flips", FLIPS), ("random verdicts", 0.5)):
                go_through(world, about, world.verdicts(asked.verdicts, flips=flips), changes, asked.verdicts)


def go_through(world: World, about: str, snapshots: tuple[str, str], changes: dict[str, float], count: int) -> None:
    """Learn one set of verdicts in each way, and record what came of it."""
    pairs, thumbs = snapshots
    for way, snapshot in (("dpo", pairs), ("kto", thumbs), ("rft", pairs), ("best of 8", pairs)):
        began = time.perf_counter()
        try:
            own = {name: value for name, value in changes.items() if not name.startswith("learn.") or way == "dpo"}
            learnt = world.start
            dials = Dials.from_values({"learn": "rft" if way == "best of 8" else way, "seed": world.seed, "changes": own})
            spec = plan(world.store, snapshot, dials, start=world.start)
            if way == "best of 8":
                found = world.compared(learnt, open_reward(world.store, spec.learn.reward))
            else:
                *_, end = run(world.store, spec)
                found = world.compared(str(end.result)) | {"chosen step": end.figures["chosen"]}
        except DataError as refused:
            found = {"refused": refused.problem}
        row = {"what": f"preferences, {about}", "data": f"{about}, {count} verdicts, seed {world.seed}", "contender": way}
        row |= {"scores": found, "seconds": time.perf_counter() - began, **machine(), "threads": torch.get_num_threads()}
        record(HERE / "results" / "preferences.json", row, key=("data", "contender"))
        print(about, way, json.dumps(found), f"{row['seconds']:.0f} s", flush=True)


if __name__ == "__main__":
    main()
