"""Pictures: how many a second 8 clients get together, against one client alone, and against the same server without batching.

    python benchmarks/serving/pictures.py

Without batching each job is computed alone: in a group of 8 places as usual, which is what makes a picture the same to the bit whatever is
beside it, or in a group of one, which is the least that a picture can take.
"""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from load import Ask, Plan, in_rounds
from recording import asked
from releases import LABELS, pictures, put
from servers import end, karat, keys, payload, worker_program

CLIENTS = (1, 8)
USUAL, GROUPED, SINGLE = "karat", "no batching, groups of 8", "no batching, groups of 1"


def main() -> None:
    """Ask with one client and with eight, with batching and without."""
    options, results = asked("pictures", __doc__, seconds=4.0, rounds=3, steps=8)
    own = {"model": "pictures:live", "seed": "{n}", "steps": options.steps}
    plans, taken, ready = dict[str, Plan](), dict[str, Callable[[], float]](), pictures(width=32)
    with TemporaryDirectory() as folder, ExitStack() as running:
        for contender, group in ((USUAL, 0), (GROUPED, 8), (SINGLE, 1)):
            store = Path(folder) / str(group)
            put(store, ready, "pictures:live")
            (key,) = keys(store)
            asks = tuple(Ask(path="/v1/images/generations", key=key, body=payload(prompt=label, **own)) for label in LABELS)
            server = running.enter_context(karat(store, "--workers", "0" if group else "1"))
            taken[contender] = server.spent
            if group:
                running.callback(end, worker_program(server, store, "smaller.py", str(group)))
            plans[contender] = server.plan(asks, options.seconds)
        measured = in_rounds(plans, CLIENTS, options.rounds, taken)
    for (contender, clients), figures in measured.items():
        beside = {"times one client": (contender, 1), "times no batching": (SINGLE, clients)}
        gains = {name: figures["a second"] / measured[other]["a second"] for name, other in beside.items()}
        data = f"16×16, {options.steps} steps, {clients} client{'s' if clients > 1 else ''}"
        told = {"pictures a second": figures["a second"], "p95 s": figures["p95 s"], **gains, "CPU s": figures["CPU s"]}
        results.add(contender, data, told | {"parameters": ready.model.parameter_count()})


if __name__ == "__main__":
    main()
