"""Rewards on the chain: fitted to the verdicts of a snapshot, with how many held-out verdicts they agree with."""

from collections.abc import Sequence
from itertools import chain

import torch

from karat.material.data.snapshots import Snapshot
from karat.material.data.texts.verdicts import verdicts_of
from karat.material.rewards import WIDTH, Reward, agreement, learn_reward
from karat.store.records import Record
from karat.store.store import Store
from karat.values.passages import Passage
from karat.values.tensors import TensorFile, tensor_bytes
from karat.words.errors import DataError, NotFoundError
from karat.work.orders import Written

HELD_OUT = ("validation", "test", "judge")


def make_reward(store: Store, snapshot: Snapshot) -> str:
    """Fit a reward to the verdicts of the training part and give its record. Raises DataError for too few verdicts."""
    taught = list(verdicts_of(store, snapshot, "train"))
    reward = learn_reward(taught)
    held = list(chain.from_iterable(verdicts_of(store, snapshot, split) for split in HELD_OUT))
    value, low, high = agreement(reward, held)
    facts = {"verdicts": len(taught), "held_out": len(held), "agrees": value, "low": low, "high": high}
    made = store.put(tensor_bytes({"weights": reward.weights}))
    return store.record("reward", made=made, made_from=[snapshot.id], spec={"width": WIDTH}, facts=facts)


def open_reward(store: Store, id: str) -> Reward:
    """Open the reward of a record."""
    record = store.get(id)
    if record.kind != "reward" or record.made is None:
        raise NotFoundError(f"{id[:12]} is a {record.kind}, no reward.", repair="Fit one: `karat reward SNAPSHOT`.")
    payload = store.read(record.made)
    return Reward(torch.clone(TensorFile(lambda start, length: payload[start : start + length], len(payload))["weights"]))


def in_words(record: Record) -> str:
    """Say how far a reward can be trusted."""
    facts = record.facts
    return f"{facts['agrees']:.0%} of {facts['held_out']:,} held-out verdicts ({facts['low']:.0%} to {facts['high']:.0%})"


def check_reward(record: Record) -> None:
    """Raise DataError for a reward that foretells held-out verdicts no better than a coin."""
    if record.facts["low"] <= 0.5:
        raise DataError(
            f"The reward agrees with {in_words(record)}: no more than a coin might.",
            repair="Bring more verdicts, or verdicts that agree with one another.",
        )


def best_of(reward: Reward, opening: Passage, tried: Sequence[Written]) -> Written | None:
    """Give the answer of highest reward among those that came to an end, if any did."""
    ended = [each for each in tried if each.finish != "length"]
    return max(ended, key=lambda each: reward(opening, each.text), default=None)
