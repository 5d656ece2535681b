"""Overload: five times as many requests as the server can serve, from ten equal keys, and from ten of which one asks for half of all.

    python benchmarks/serving/overload.py

What was admitted must be served in bounded time, everything else be refused at once with 429 or 503 and when to come again; memory must not
grow; and the keys must be served alike (Jain's index: 1 when all got the same, 0.1 when one got everything).
"""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from load import Answer, Ask, Plan, drive, quantile, rate
from recording import Results, asked
from releases import pictures, put
from servers import Server, karat, keys, payload, resident

KEYS = 10
MIB = 1 << 20


def main() -> None:
    """Find what the server can serve, then ask for five times as much."""
    options, results = asked("overload", __doc__, seconds=120.0, unequal=30.0, times=5.0, steps=4)
    with TemporaryDirectory() as folder:
        store = Path(folder)
        put(store, pictures(size=8, width=16), "pictures:live")
        body = payload(model="pictures:live", prompt="star", seed="{n}", steps=options.steps)
        asks = [Ask(path="/v1/images/generations", key=key, body=body) for key in keys(store, KEYS)]
        with karat(store) as server:
            most = capacity(server, asks)
            hasty = [asks[0], *(each for ask in asks[1:] for each in (ask, asks[0]))][:-1]
            kinds = (("equal keys", asks, options.seconds), ("one key asks for half of all", hasty, options.unequal))
            for number, (data, some, seconds) in enumerate(kinds, 1):
                plan = server.plan(some, seconds, rate=options.times * most, first=number << 24)
                with watched(server) as sizes:
                    answers = drive(plan)
                tell(results, data, plan, answers, sizes, most)


def capacity(server: Server, asks: Sequence[Ask]) -> float:
    """Give the requests a second that are served when 32 clients always wait."""
    rates = []
    for first in (0, 1 << 20):  # the first time warms up
        rates.append(rate(drive(server.plan(asks, 6, clients=32, first=first))))
    return rates[1]


@contextmanager
def watched(server: Server) -> Iterator[list[tuple[int, int]]]:
    """Note the resident bytes of the server and of its worker each second."""
    sizes, ended = list[tuple[int, int]](), threading.Event()

    def watch() -> None:
        while not ended.wait(1):
            sizes.append((server.resident, sum(resident(worker.pid) for worker in server.workers)))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield sizes
    finally:
        ended.set()
        thread.join()


def tell(results: Results, data: str, plan: Plan, answers: list[Answer], sizes: list[tuple[int, int]], most: float) -> None:
    """Record what became of the requests."""
    names, statuses = {ask.key: place for place, ask in reversed(list(enumerate(plan.asks)))}, Counter(answer.status for answer in answers)
    served = Counter(names[plan.asks[answer.ask].key] for answer in answers if answer.status == 200)
    took = [answer.seconds for answer in answers if answer.status == 200]
    refused = [answer for answer in answers if answer.status in (429, 503)]
    said = sum(answer.retry_after is not None and 1 <= answer.retry_after <= 120 for answer in refused)
    first, last = sizes[len(sizes) // 4], sizes[-1]
    figures = {
        "served without overload, a second": most,
        "asked": plan.rate,
        "served": len(took) / plan.seconds,
        "p50 s": quantile(took, 0.5),
        "p99 s": quantile(took, 0.99),
        "refused with 429": statuses[429],
        "with 503": statuses[503],
        "of them told when to come again": said / len(refused),
        "p99 of refusals s": quantile([answer.seconds for answer in refused], 0.99),
        "anything else": len(answers) - len(took) - len(refused),
        "Jain": jain([served[name] for name in set(names.values())]),
        "server MiB": last[0] / MIB,
        "more than after a quarter": (last[0] - first[0]) / MIB,
        "worker MiB": last[1] / MIB,
        "more, too": (last[1] - first[1]) / MIB,
    }
    results.add("karat", f"{data}, {plan.seconds:g} s", figures)


def jain(served: Sequence[int]) -> float:
    """Give Jain's index of fairness (Jain, Chiu and Hawe 1984)."""
    return sum(served) ** 2 / (len(served) * sum(each * each for each in served))


if __name__ == "__main__":
    main()
