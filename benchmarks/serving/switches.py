"""Switches: a worker whose budget of memory holds one of two releases is asked for them in turn; its memory must stay flat.

    python benchmarks/serving/switches.py

Flat is a slope, fitted over the last two thirds of the switches, that is no more than noise.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from load import Ask
from recording import asked
from releases import pictures, put, texts
from servers import karat, keys, payload, resident

MIB = 1 << 20


def main() -> None:
    """Switch so many times and record the worker's memory."""
    options, results = asked("switches", __doc__, switches=300)
    with TemporaryDirectory() as folder:
        store = Path(folder)
        put(store, texts(), "texts:live")
        put(store, pictures(), "pictures:live")
        (key,) = keys(store)
        text = payload(model="texts:live", prompt="hello", max_tokens=4, seed="{n}")
        picture = payload(model="pictures:live", prompt="star", steps=1, seed="{n}")
        asks = [Ask(path="/v1/completions", key=key, body=text), Ask(path="/v1/images/generations", key=key, body=picture)]
        with karat(store, "--memory", "90") as server:
            sizes, served = list[float](), list[float]()
            for number in range(options.switches):
                status, body = server.ask(asks[number % 2], number)
                if status != 200:
                    raise RuntimeError(f"It was refused: {status} {body}")
                (worker,) = server.workers
                sizes.append(resident(worker.pid) / MIB)
                served.append(server.resident / MIB)
    late = slice(options.switches // 3, None)
    figures = {
        "switches": options.switches,
        "MiB after a third": sizes[late][0],
        "at the end": sizes[-1],
        "most": max(sizes),
        "MiB more for each hundred switches": 100 * slope(sizes[late]),
        "server, MiB more for each hundred": 100 * slope(served[late]),
    }
    series = [round(size, 1) for size in sizes[:: max(1, options.switches // 30)]]
    results.add("karat", "worker that holds one of two releases", figures, {"MiB of the worker": series})


def slope(values: list[float]) -> float:
    """Give how much a value rises from one to the next, by least squares."""
    return float(np.polyfit(np.arange(len(values)), values, 1)[0])


if __name__ == "__main__":
    main()
