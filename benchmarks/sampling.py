"""Sampling: pictures per second of a trained flow against diffusers' DDIM-50 on a net of the same size, and the quality at each setting.

    python benchmarks/sampling.py digits --minutes 1

The peer's net is untrained: its speed does not depend on its weights. "At equal quality" means that the default's distance lies within the
interval of the same model's at 50 Euler steps; both are recorded.
"""

import argparse
import json
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from datasets import machine
from peers.data import write_data
from quality import HERE, PEERS, Bench
from results import record

from karat.app.evaluating import open_run
from karat.material.data.snapshots import Snapshot
from karat.material.metrics.scores import result_of
from karat.work.evaluation import EvaluationOptions, Values, evaluate
from karat.work.generation import all_values
from karat.work.measuring import targets_of
from karat.work.runs import part_of, run

SETTINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "euler 50": {"solver": "euler", "steps": 50},
    "heun 8": {"solver": "heun", "steps": 8},
    "dpm++2m 6": {"solver": "dpm++2m", "steps": 6},
    "heun 5": {"solver": "heun", "steps": 5},
}


def main() -> None:
    """Train once, sample with each setting, time the peer before each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=["digits", "emoji"])
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--samples", type=int, default=500)
    asked = parser.parse_args(namespace=argparse.Namespace(only=PEERS, seed=0, threads=2, peer_settings="tuned"))
    with TemporaryDirectory() as scratch:
        bench = Bench(asked, Path(scratch))
        spec = bench.spec("diffusion", asked.minutes)
        *_, finished = run(bench.store, spec)
        _, ready, _ = open_run(bench.store, finished.result)
        test = part_of(bench.store, Snapshot.open(bench.store, spec.snapshot), spec, "test")
        rows = [row % len(test) for row in range(asked.samples)]
        given = test.conditions(rows)
        options = EvaluationOptions(resamples=200, metrics=("fd", "kid"))
        torch.set_num_threads(2)
        for name, sampling in SETTINGS.items():
            peer = peer_speed(bench, ready.model.parameter_count())
            began = time.perf_counter()
            values = all_values(ready.model, given, [(1, row) for row in rows], sampling)
            speed = len(values) / (time.perf_counter() - began)
            made = Values(values, *targets_of(given, rows))
            evaluation = result_of(evaluate(made, bench.real, options, yardstick=bench.yardstick))
            scores: dict[str, Any] = {"pictures a second": speed, "times DDIM-50": speed / peer}
            scores |= {score.name: {"value": score.value, "low": score.low, "high": score.high} for score in evaluation.scores}
            row = {"what": "sampling", "data": asked.data, "contender": name, "minutes": asked.minutes, "scores": scores, **machine()}
            record(HERE / "results" / "sampling.json", row, key=("data", "contender"))
            print(f"{name:12s} {speed:8.1f}/s, {speed / peer:5.1f} × DDIM-50, fd/judge {scores['fd/judge']['value']:.3g}", flush=True)


def peer_speed(bench: Bench, parameters: int) -> float:
    """Give the pictures per second of DDIM-50 on a net of about the same size, for pictures of the same shape."""
    python, program = HERE / ".env-peers" / "bin" / "python", HERE / "peers" / "ddim_speed.py"
    data, out = bench.scratch / "data.npz", bench.scratch / "speed.npz"
    write_data(data, **bench.peer_data(np.arange(64)))
    command = [python, program, "--data", data, "--parameters", parameters, "--threads", 2, "--samples", 64, "--out", out]
    subprocess.run([str(word) for word in [*command, "--settings", "documented"]], check=True)
    return float(json.loads(str(np.load(out)["meta"]))["pictures_per_second"])


if __name__ == "__main__":
    main()
