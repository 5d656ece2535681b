"""What the server itself takes: seconds of an answer at 200 requests a second, no model behind it, beside LitServe and a bare route.

    python benchmarks/serving/overhead.py

A list (GET /v1/models with a key) against a bare FastAPI route that returns the same list; and a request that goes through all of
admission, the queue on disk and a worker that computes nothing (POST /v1/embeddings with a key), against LitServe with a model that returns
what it gets and against a bare route that does. Of these Karat's alone is on disk before it is worked on, and written into an audit log.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from load import Answer, Ask, Plan, drive, quantile
from recording import Results, asked
from releases import put, texts
from servers import Server, end, karat, keys, payload, peer, worker_program

KEYS = 8
BODY = payload(model="texts:live", input="hello")


def main() -> None:
    """Ask each server in turn at the same rate."""
    options, results = asked("overhead", __doc__, seconds=20.0, rate=200.0)
    with TemporaryDirectory() as folder:
        store = Path(folder)
        put(store, texts(width=64, depth=1), "texts:live")
        own = keys(store, KEYS)

        def measure(contender: str, server: Server, *asks: Ask) -> None:
            kind = "list" if asks[0].method == "GET" else "request"
            for seconds, kept in ((3.0, False), (options.seconds, True)):
                plan = Plan(host=server.host, port=server.port, asks=asks, seconds=seconds, rate=options.rate)
                answers = drive(plan)
                if kept:
                    tell(results, f"{kind}, {options.rate:g} a second", contender, answers)

        with peer("bare_fastapi.py", store) as bare:
            measure("bare FastAPI", bare, Ask(method="GET", path="/v1/models"))
            measure("bare FastAPI", bare, Ask(path="/predict", body=BODY))
        with peer("litserve_identity.py", store) as lit:
            measure("LitServe", lit, Ask(path="/predict", body=BODY))
        with karat(store, "--workers", "0") as server:
            worker = worker_program(store, Path(__file__).parent / "workers" / "idle.py", threads=1)
            try:
                measure("karat", server, *(Ask(method="GET", path="/v1/models", key=key) for key in own))
                measure("karat", server, *(Ask(path="/v1/embeddings", key=key, body=BODY) for key in own))
            finally:
                end(worker)


def tell(results: Results, data: str, contender: str, answers: list[Answer]) -> None:
    """Record the milliseconds of the answers, and the share of requests that got one."""
    times = [1000 * answer.seconds for answer in answers if answer.status == 200]
    rate = len(times) / (max(answer.ended for answer in answers) - min(answer.due for answer in answers))
    figures = {"p50 ms": quantile(times, 0.5), "p99 ms": quantile(times, 0.99)} if times else {}
    results.add(contender, data, figures | {"answered": len(times) / len(answers), "a second": rate})


if __name__ == "__main__":
    main()
