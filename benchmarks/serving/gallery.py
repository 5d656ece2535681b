"""Gallery: the first page and searches among 100,000 assets, over HTTP with a key.

    python benchmarks/serving/gallery.py

The assets are written straight into the store's tables: three releases, prompts of two common words and one that twenty assets share.
"""

import json
import random
from pathlib import Path
from tempfile import TemporaryDirectory

from load import Ask, drive, quantile, rate
from recording import asked
from servers import karat, keys
from sqlalchemy import insert

from karat.store import tables
from karat.store.records import Record
from karat.store.store import Store

WORDS = ("fox", "fog", "whale", "红", "狐狸", "river", "night", "été")
SEARCHES = {
    "first page": "",
    "first page of 200": "limit=200",
    "a page far back": "before=5000",
    "a common word": "words=fox",
    "two common words": "words=fox+whale",
    "a rare word": "words=rare77",
    "a beginning": "words=r",
    "two words that never meet": "words=early+late",
    "a word that is not there": "words=unicorn",
    "one release and a word": "words=night&release={release}",
}


def main() -> None:
    """Ask for each page again and again for some seconds."""
    options, results = asked("gallery", __doc__, assets=100_000, seconds=3.0)
    with TemporaryDirectory() as folder:
        release = fill(Path(folder), options.assets)
        (key,) = keys(Path(folder))
        with karat(Path(folder), "--workers", "0") as server:
            for name, query in SEARCHES.items():
                ask = Ask(method="GET", path=f"/api/assets?{query.format(release=release)}", key=key)
                answers = drive(server.plan([ask], options.seconds, clients=1))
                times = [1000 * answer.seconds for answer in answers]
                figures = {"first ms": times[0], "p50 ms": quantile(times, 0.5), "p95 ms": quantile(times, 0.95), "a second": rate(answers)}
                results.add(name, f"{options.assets:,} assets", figures)


def fill(folder: Path, count: int) -> str:
    """Write assets into a store, and give the record of one of their releases."""
    store, chance = Store.open(folder), random.Random(0)
    releases = [store.record("release", spec={"title": str(number)}) for number in range(3)]
    with store._database.writing() as connection:
        for number in range(count):
            half = "early" if number < count // 2 else "late"
            text = " ".join([*chance.sample(WORDS, 2), f"rare{chance.randrange(count // 20 + 1)}", half])
            spec = {"given": {"text": text}, "seed": number}
            record = Record(id=f"{number:064x}", kind="asset", made_from=(releases[number % 3],), spec=spec, at=float(number))
            row = {"number": number + 10, "id": record.id, "kind": "asset", "spec": json.dumps(spec), "facts": "{}", "at": record.at}
            connection.execute(insert(tables.records).values(**row))
            connection.execute(insert(tables.edges).values(child=record.id, place=0, parent=record.made_from[0]))
            tables.index_asset(connection, number + 10, record.made_from[0], record.at, spec, {})
    store.close()
    return releases[0]


if __name__ == "__main__":
    main()
