"""Memory: the peak of importing, checking, cutting a snapshot and training, over the interpreter with torch, as the data grows.

    python benchmarks/memory.py --counts 2000 20000 100000
    python benchmarks/memory.py --demo   # the whole demo, with the interpreter

Each count runs in a process of its own; training takes 30 steps at 32 x 32 with one judging of samples, so that everything is used.
"""

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from datasets import machine
from import_speed import draw
from results import record

CHAIN = """
import resource, sys
from pathlib import Path
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
import torch
torch.set_num_threads(2)
from karat.material.data.importing import import_source
from karat.material.data.snapshots import SnapshotSpec, make_snapshot
from karat.store.store import Store
from karat.work.recipes.recipes import Dials
from karat.work.runs import plan_run, run
done = {"interpreter": peak()}
store = Store.open(sys.argv[2])
*_, source = import_source(store, Path(sys.argv[1]))
done["import"] = peak()
*_, snapshot = make_snapshot(store, SnapshotSpec(sources=(source.result,)))
done["snapshot"] = peak()
changes = {"plan.checks": 1, "plan.judged": int(sys.argv[3]), "plan.samples": 64}
spec = plan_run(store, snapshot.result, Dials(steps=30, changes=changes), made={"size": 32})
*_, finished = run(store, spec)
done["training"] = peak()
"""


def main() -> None:
    """Measure each count and record it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[2_000, 20_000])
    parser.add_argument("--judged", type=int, default=1)
    parser.add_argument("--demo", action="store_true")
    asked = parser.parse_args()
    if asked.demo:
        peak = demo_peak()
        keep({"pictures": 1_797, "judged": "demo", "demo_peak_mb": round(peak)})
        print(f"the demo: {peak:.0f} MB")
        return
    for count in asked.counts:
        with TemporaryDirectory() as scratch:
            folder = Path(scratch) / "pictures"
            draw(folder, count)
            code = "if True:\n" + "\n".join(f"    {line}" for line in (CHAIN + "\nimport json; print(json.dumps(done))").splitlines())
            command = [sys.executable, "-c", code, str(folder), str(Path(scratch) / "store"), str(asked.judged)]
            ran = subprocess.run(command, check=True, capture_output=True, text=True)
        peaks = json.loads(ran.stdout.splitlines()[-1])
        over = {stage: round(peak - peaks["interpreter"]) for stage, peak in peaks.items() if stage != "interpreter"}
        stages = {f"{stage}_over_mb": peak for stage, peak in over.items()}
        keep({"pictures": count, "judged": asked.judged, "interpreter_mb": round(peaks["interpreter"]), **stages})
        print(f"{count:7,} pictures: {over} MB over the interpreter's {peaks['interpreter']:.0f}", flush=True)


def demo_peak() -> float:
    """Give the peak of `karat demo` in MB."""
    with TemporaryDirectory() as scratch:
        command = [Path(sys.executable).with_name("karat"), "demo", "--folder", Path(scratch) / "demo"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def keep(row: dict[str, Any]) -> None:
    """Record a row."""
    record(Path(__file__).parent / "results" / "memory.json", {"what": "memory", **row, **machine()}, key=("pictures", "judged"))


if __name__ == "__main__":
    main()
