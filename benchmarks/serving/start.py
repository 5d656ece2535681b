"""Start: seconds until a server is ready, and its memory then, with and without the studio.

    python benchmarks/serving/start.py

The seconds are those from the start of the process to the first 200 of GET /health/ready; the memory is what the server's own process has
resident then; its CPU time tells how long the start takes on a machine that does nothing else. Models live in workers, which are processes
of their own with torch; where there is one, it starts beside the server.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from load import quantile
from recording import asked
from releases import put, texts
from servers import cpu_seconds, karat

MIB = 1 << 20


def main() -> None:
    """Start each way so many times."""
    options, results = asked("start", __doc__, times=5)
    with TemporaryDirectory() as folder:
        store = Path(folder)
        put(store, texts(), "texts:live")
        for data, workers, studio in (("no studio, no worker", 0, False), ("studio, no worker", 0, True), ("studio, one worker", 1, True)):
            seconds, spent, sizes = list[float](), list[float](), list[float]()
            for _ in range(options.times):
                with karat(store, "--workers", str(workers), studio=studio) as server:
                    seconds.append(server.seconds)
                    spent.append(cpu_seconds(server.process.pid))
                    sizes.append(server.resident / MIB)
            figures = {"seconds, median": quantile(seconds, 0.5), "longest": max(seconds), "CPU s": quantile(spent, 0.5)}
            figures |= {"server MiB": quantile(sizes, 0.5)}
            results.add("karat", data, figures | {"times": options.times})


if __name__ == "__main__":
    main()
