"""Rewards: fitted to the verdicts of a snapshot, put on the chain, and given to what writes several answers to keep the best."""

from collections.abc import Iterator, Mapping
from typing import Any

from karat.app.chain import find
from karat.material.data.snapshots import Snapshot
from karat.material.rewards import Reward
from karat.store.store import Store
from karat.words.errors import DataError
from karat.words.events import Event, Finished, Started, Warned
from karat.work.rewards import check_reward, in_words, make_reward, open_reward


def reward_snapshot(store: Store, ref: str, *, alias: str | None = None) -> Iterator[Event]:
    """Fit a reward to a snapshot's verdicts. Ends with Finished, whose result is its record; warns of one that is no better than a coin."""
    snapshot = Snapshot.open(store, find(store, ref, "snapshot").id)
    yield Started(what="reward")
    result = make_reward(store, snapshot)
    record = store.get(result)
    try:
        check_reward(record)
    except DataError as error:
        yield Warned(message=str(error))
    if alias:
        store.alias(alias, result)
    named = f" as {alias}" if alias else ""
    summary = f"Reward {result[:12]}{named}, of {record.facts['verdicts']:,} verdicts, agrees with {in_words(record)}."
    yield Finished(what="reward", result=result, summary=summary, figures={"agrees": record.facts["agrees"]})


def resolved(store: Store, sampling: Mapping[str, Any]) -> dict[str, Any]:
    """Give sampling options in which the reward is named by its record, so that they mean the same for ever."""
    by = sampling.get("by")
    return {**sampling, "by": find(store, str(by), "reward").id} if by else dict(sampling)


def reward_of(store: Store, sampling: Mapping[str, Any]) -> Reward | None:
    """Give the reward that sampling options name."""
    return open_reward(store, str(sampling["by"])) if sampling.get("by") else None
