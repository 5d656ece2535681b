"""One Karat contender, as a process of its own: train a spec, make samples under the test split's conditions, write them for the judge.

python benchmarks/own.py STORE SPEC.json OUT.npz SAMPLES
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch

from karat.app.evaluating import open_run
from karat.material.data.snapshots import Snapshot
from karat.store.store import Store
from karat.values.codecs.latent import as_seen
from karat.work.generation import all_values
from karat.work.plans import RunSpec
from karat.work.runs import part_of, run


def main(folder: str, spec_file: str, out: str, count: int) -> None:
    """Train and sample."""
    store = Store.open(folder)
    spec = RunSpec.from_json(Path(spec_file).read_bytes())
    *_, finished = run(store, spec)
    record, ready, _ = open_run(store, finished.result)
    torch.set_num_threads(spec.plan.threads or 2)
    test = part_of(store, Snapshot.open(store, spec.snapshot), spec, "test")
    given = test.conditions([row % len(test) for row in range(count)])
    began = time.perf_counter()
    values = as_seen(ready.made, all_values(ready.model, given, [(1, index) for index in range(count)], {}))
    seconds = time.perf_counter() - began
    about = {
        "peer": "karat",
        "family": spec.model.family.kind,
        "parameters": ready.model.parameter_count(),
        "steps": int(record.facts["figures"]["steps"]),
        "training_seconds": record.facts["figures"]["seconds"],
        "sampling_seconds": seconds,
        "pictures_per_second": count / seconds,
    }
    pictures = ((values + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy()
    np.savez(out, x=pictures, y=np.arange(count), meta=json.dumps(about))


if __name__ == "__main__":
    main(*sys.argv[1:4], int(sys.argv[4]))
