"""What the server itself takes: seconds of an answer at 200 requests a second, no model behind it, beside LitServe and a bare route.

    python benchmarks/serving/overhead.py

A list (GET /v1/models with a key) against a bare FastAPI route that returns the same list; and a request that goes through all of
admission, the queue on disk and a worker that computes nothing (POST /v1/embeddings with a key), against LitServe with a model that returns
what it gets and against a bare route that does. Of these Karat's alone is on disk before it is worked on, and written into an audit log.
"""

from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from load import Answer, Ask, drive, quantile
from recording import asked
from releases import put, texts
from servers import end, karat, keys, payload, peer, worker_program

KEYS = 8
BODY = payload(model="texts:live", input="hello")


def main() -> None:
    """Ask all servers in turn at the same rate, round after round; the median round counts."""
    options, results = asked("overhead", __doc__, seconds=4.0, rounds=5, rate=200.0)
    rounds: dict[tuple[str, str], list[dict[str, float]]] = {}
    with TemporaryDirectory() as folder, ExitStack() as running:
        store = Path(folder)
        put(store, texts(width=64, depth=1), "texts:live")
        own = keys(store, KEYS)
        bare, lit = (running.enter_context(peer(program, store)) for program in ("bare_fastapi.py", "litserve_identity.py"))
        server = running.enter_context(karat(store, "--workers", "0"))
        running.callback(end, worker_program(server, store, "idle.py"))
        contenders = {
            ("list", "bare FastAPI"): (bare, [Ask(method="GET", path="/v1/models")]),
            ("list", "karat"): (server, [Ask(method="GET", path="/v1/models", key=key) for key in own]),
            ("request", "bare FastAPI"): (bare, [Ask(path="/predict", body=BODY)]),
            ("request", "LitServe"): (lit, [Ask(path="/predict", body=BODY)]),
            ("request", "karat"): (server, [Ask(path="/v1/embeddings", key=key, body=BODY) for key in own]),
        }
        for number in range(options.rounds + 1):
            for name, (asked_of, asks) in contenders.items():
                before = asked_of.spent()
                answers = drive(asked_of.plan(asks, options.seconds, rate=options.rate))
                figures = told(answers) | {"CPU ms": 1000 * (asked_of.spent() - before) / len(answers)}
                if number:  # the first round warms up
                    rounds.setdefault(name, []).append(figures)
    for (kind, contender), some in rounds.items():
        medians = {figure: median(each[figure] for each in some) for figure in some[0]}
        results.add(contender, f"{kind}, {options.rate:g} a second", medians, {"rounds": some})


def told(answers: list[Answer]) -> dict[str, float]:
    """Give the milliseconds of the answers, and the share of requests that got one."""
    times = [1000 * answer.seconds for answer in answers if answer.status == 200]
    rate = len(times) / (max(answer.ended for answer in answers) - min(answer.due for answer in answers))
    return {"p50 ms": quantile(times, 0.5), "p99 ms": quantile(times, 0.99), "answered": len(times) / len(answers), "a second": rate}


if __name__ == "__main__":
    main()
