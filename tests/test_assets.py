"""The index of assets finds what looking at each of them would find, and finds it fast among a hundred thousand."""

import json
import random
import time
from pathlib import Path

import pytest
from sqlalchemy import insert, text

from karat.app import assets
from karat.store import tables
from karat.store.assets import Wanted
from karat.store.finding import words_of
from karat.store.records import Record
from karat.store.store import Store

WORDS = ["fox", "fog", "whale", "红", "狐狸", "river", "night", "Été"]


def filled(folder: Path, count: int) -> tuple[Store, list[Record]]:
    """Give a store with many assets of three releases, written at once."""
    store, chance = Store.open(folder), random.Random(0)
    releases = [store.record("release", spec={"title": str(number)}) for number in range(3)]
    made = []
    for number in range(count):
        words = " ".join([*chance.sample(WORDS, 2), f"rare{chance.randrange(count // 20 + 1)}"])
        spec = {"given": {"text": words}, "seed": number}
        made.append(Record(id=f"{number:064x}", kind="asset", made_from=(releases[number % 3],), spec=spec, at=float(number)))
    with store._database.writing() as connection:
        for number, record in enumerate(made, 10):
            row = {
                "number": number,
                "id": record.id,
                "kind": "asset",
                "spec": json.dumps(record.spec),
                "facts": "{}",
                "at": record.at,
            }
            connection.execute(insert(tables.records).values(**row))
            connection.execute(insert(tables.edges).values(child=record.id, place=0, parent=record.made_from[0]))
            tables.index_asset(connection, number, record.made_from[0], record.at, record.spec, {})
    return store, made


def test_words_are_found_in_every_script() -> None:
    assert words_of({"text": "A red FOX, 红狐!", "deep": [{"more": "naïve_case"}]}) == {"a", "red", "fox", "红", "狐", "naïve_case"}
    assert len(words_of(" ".join(map(str, range(1_000))))) == 64


@pytest.mark.parametrize("words", ["", "fox", "fo", "red", "红", "狐狸 fog", "rare7", "FOX whale", "été", "nothing"])
@pytest.mark.parametrize("release", [None, 1])
def test_the_index_finds_what_looking_at_each_finds(tmp_path: Path, words: str, release: int | None) -> None:
    store, made = filled(tmp_path / "store", 120)
    chosen = made[release].made_from[0] if release is not None else None
    found, before = [], None
    while True:
        page = assets.search(store, Wanted(words=words, release=chosen, since=5, until=110, before=before), limit=7)
        found += [line.id for line in page.data]
        if page.next is None:
            break
        before = page.next
    asked = words_of(words)
    expected = [
        record.id
        for record in reversed(made)
        if 5 <= record.at <= 110
        and chosen in (None, record.made_from[0])
        and all(any(known.startswith(word) for known in words_of(record.spec)) for word in asked)
    ]
    assert found == expected


def test_an_older_store_gains_the_index(tmp_path: Path) -> None:
    store, made = filled(tmp_path / "store", 5)
    with store._database.writing() as old:
        for table in ("tellings", "keys", "people", "calls", "asset_words", "assets"):
            old.execute(text(f"DROP TABLE {table}"))
        old.execute(text("ALTER TABLE jobs DROP COLUMN reserved"))
        old.execute(text("UPDATE store_version SET version = 2"))
    again = Store.open(tmp_path / "store")
    assert [id for _, id in again.assets.search(Wanted(words="rare"))] == [record.id for record in reversed(made)]
    assert again.queue.spent("nobody") == 0


@pytest.mark.slow
def test_a_hundred_thousand_are_searched_in_a_moment(tmp_path: Path) -> None:
    store, _ = filled(tmp_path / "store", 100_000)
    for wanted in (Wanted(), Wanted(words="fox"), Wanted(words="fox whale"), Wanted(words="rare77"), Wanted(words="r", before=5_000)):
        began = time.perf_counter()
        assets.search(store, wanted)
        assert time.perf_counter() - began < 0.2, wanted
