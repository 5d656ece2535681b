"""Pictures: how many a second 8 clients get together, against one client alone, and against the same server without batching.

    python benchmarks/serving/pictures.py

Without batching each job is computed alone: in a group of 8 places as usual, which is what makes a picture the same to the bit whatever is
beside it, or in a group of one, which is the least that a picture can take.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from load import Ask, Plan, drive, quantile, rate
from recording import asked
from releases import LABELS, pictures, put
from servers import Server, end, karat, keys, payload, worker_program

CLIENTS = (1, 8)
USUAL, GROUPED, SINGLE = "karat", "no batching, groups of 8", "no batching, groups of 1"


def main() -> None:
    """Ask with one client and with eight, with batching and without."""
    options, results = asked("pictures", __doc__, seconds=10.0, steps=16)
    measured = dict[tuple[str, int], dict[str, float]]()
    with TemporaryDirectory() as folder:
        store, ready = Path(folder), pictures()
        put(store, ready, "pictures:live")
        (key,) = keys(store)
        own = {"model": "pictures:live", "seed": "{n}", "steps": options.steps}
        asks = tuple(Ask(path="/v1/images/generations", key=key, body=payload(prompt=label, **own)) for label in LABELS)

        def measure(server: Server, contender: str) -> None:
            for clients in (1, *CLIENTS):  # the first time warms up
                plan = Plan(host=server.host, port=server.port, asks=asks, seconds=options.seconds, clients=clients)
                answers = drive(plan)
                times = [answer.seconds for answer in answers]
                measured[contender, clients] = {"pictures a second": rate(answers), "p95 s": quantile(times, 0.95)}

        with karat(store) as server:
            measure(server, USUAL)
        for contender, group in ((GROUPED, "8"), (SINGLE, "1")):
            with karat(store, "--workers", "0") as server:
                worker = worker_program(store, Path(__file__).parent / "workers" / "smaller.py", group)
                try:
                    measure(server, contender)
                finally:
                    end(worker)
    for (contender, clients), figures in measured.items():
        beside = {"times one client": (contender, 1), "times no batching": (SINGLE, clients)}
        gains = {name: figures["pictures a second"] / measured[other]["pictures a second"] for name, other in beside.items()}
        data = f"16×16, {options.steps} steps, {clients} client{'s' if clients > 1 else ''}"
        results.add(contender, data, figures | gains | {"parameters": ready.model.parameter_count()})


if __name__ == "__main__":
    main()
