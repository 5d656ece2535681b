"""The command line: how long `karat --help` takes, beside a Python that does nothing, in turn.

python benchmarks/command_line.py
"""

import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from datasets import machine
from results import record

ROUNDS = 15
COMMANDS = {"karat --help": ("-m", "karat.faces.cli", "--help"), "python": ("-c", "pass")}


def main() -> None:
    """Time both and record the medians; the first round warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS + 1):
        for name, words in COMMANDS.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
            seconds[name].append(time.perf_counter() - began)
    for name, (_, *counted) in seconds.items():
        row = {"what": "start of the command line", "contender": name, "seconds": median(counted), "longest": max(counted)}
        record(Path(__file__).parent / "results" / "command-line.json", {**row, **machine()}, key=("contender",))
        print(f"{name}: {median(counted):.3f} s, the longest of {ROUNDS} {max(counted):.3f} s")


if __name__ == "__main__":
    main()
