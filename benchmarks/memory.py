"""Memory: the peak of importing, checking, cutting a snapshot and training, over the interpreter with torch, as the data grows.

    python benchmarks/memory.py --counts 2000 20000 100000

Each count runs in a process of its own; training takes 30 steps at 32 x 32 with one judging of samples, so that everything is used.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

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
    asked = parser.parse_args()
    for count in asked.counts:
        with TemporaryDirectory() as scratch:
            folder = Path(scratch) / "pictures"
            draw(folder, count)
            code = "if True:\n" + "\n".join(f"    {line}" for line in (CHAIN + "\nimport json; print(json.dumps(done))").splitlines())
            command = [sys.executable, "-c", code, str(folder), str(Path(scratch) / "store"), str(asked.judged)]
            ran = subprocess.run(command, check=True, capture_output=True, text=True)
        peaks = json.loads(ran.stdout.splitlines()[-1])
        over = {stage: round(peak - peaks["interpreter"]) for stage, peak in peaks.items() if stage != "interpreter"}
        row = {"what": "memory", "pictures": count, "judged": asked.judged, "interpreter_mb": round(peaks["interpreter"])}
        row |= {f"{stage}_over_mb": peak for stage, peak in over.items()}
        record(Path(__file__).parent / "results" / "memory.json", {**row, **machine()}, key=("pictures", "judged"))
        print(f"{count:7,} pictures: {over} MB over the interpreter's {peaks['interpreter']:.0f}", flush=True)


if __name__ == "__main__":
    main()
