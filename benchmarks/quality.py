"""Quality per minute: every Karat family and every peer learns the same pictures for the same time, and the same judge scores them all.

    python benchmarks/quality.py digits --minutes 1 3
    python benchmarks/quality.py emoji --minutes 5 20 --only karat:diffusion pythae_vae

Each contender is a process of its own, one after the other, two threads each (or one, for twice the time, where a machine cannot be had
alone). The judge, the splits and the samples' conditions come from
one snapshot; peers see its training part alone. Karat's judging of checkpoints is switched off, so that all the time goes into training, as
with the peers. Results go to `benchmarks/results/`, one JSON file for each data set, contenders replaced as they are run again.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from datasets import machine, snapshot_of
from peers.data import write_data
from PIL import Image
from results import record

from karat.material.data.batches import condition_of
from karat.material.data.preview import contact_sheet
from karat.material.data.snapshots import Snapshot
from karat.material.metrics.scores import Evaluation, result_of
from karat.store.store import Store
from karat.work.evaluation import EvaluationOptions, Reality, Values, Yardstick, evaluate
from karat.work.measuring import reality_of, yardstick_of
from karat.work.plans import RunSpec
from karat.work.recipes.recipes import Dials
from karat.work.runs import plan_run

HERE = Path(__file__).parent
FAMILIES = ("diffusion", "vae", "gan", "autoregressive")
PEERS = ("pythae_vae", "mlp_gan", "diffusers_unet", "lucidrains_ddpm")
SETTINGS: dict[str, dict[str, Any]] = {
    "digits": {"given": "label", "made": {}},
    "emoji": {"given": "text", "made": {"size": 32}},
}


def main() -> None:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=sorted(SETTINGS))
    parser.add_argument("--minutes", type=float, nargs="+", default=[1.0])
    parser.add_argument("--only", nargs="+", default=[*(f"karat:{family}" for family in FAMILIES), *PEERS])
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, choices=[1, 2], default=2)
    parser.add_argument("--sheets", type=Path, help="a folder for contact sheets of each contender's first samples")
    parser.add_argument("--peer-settings", choices=["documented", "tuned"], default="tuned")
    asked = parser.parse_args()
    with TemporaryDirectory() as scratch:
        bench = Bench(asked, Path(scratch))
        for minutes in asked.minutes:
            for contender in asked.only:
                started = time.time()
                made, about = bench.samples(contender, minutes)
                scores = bench.scores(made)
                if asked.sheets:
                    name = f"{asked.data}-{contender.replace(':', '-')}-{minutes:g}.png"
                    first = (Image.fromarray(picture.squeeze()) for picture in pixels(made.values[:64]))
                    contact_sheet((picture, "") for picture in first).save(asked.sheets / name)
                row = {
                    "what": "quality",
                    "data": asked.data,
                    "contender": contender,
                    "minutes": minutes,
                    "seed": asked.seed,
                    **about,
                    **scores,
                }
                record(HERE / "results" / f"quality-{asked.data}.json", row, key=("contender", "minutes", "seed", "machine"))
                print(f"{contender:20s} {minutes:g} min: {summary(scores)} ({time.time() - started:.0f} s in all)", flush=True)


class Bench:
    """One data set with its yardstick."""

    def __init__(self, asked: argparse.Namespace, scratch: Path) -> None:
        self.asked, self.scratch, self.setting = asked, scratch, SETTINGS[asked.data]
        self.store = Store.open(scratch / "store")
        self.snapshot = Snapshot.open(self.store, snapshot_of(self.store, asked.data, scratch))
        self.real: Reality = reality_of(self.store, self.snapshot, self.spec("diffusion", 1))
        self.options = EvaluationOptions(resamples=200)
        self.yardstick: Yardstick = result_of(yardstick_of(self.store, self.snapshot, self.spec("diffusion", 1), self.options))

    def spec(self, family: str, minutes: float) -> RunSpec:
        """Give what `karat train` would do by default, without judging."""
        changes = {"plan.judged": 0, "plan.threads": self.asked.threads}
        dials = Dials(family=family, minutes=2 * minutes / self.asked.threads, seed=self.asked.seed, changes=changes)
        return plan_run(self.store, self.snapshot.id, dials, given=(self.setting["given"],), made=self.setting["made"])

    def samples(self, contender: str, minutes: float) -> tuple[Values, dict[str, Any]]:
        """Train a contender and let it make samples under the test split's conditions."""
        out = self.scratch / "samples.npz"
        out.unlink(missing_ok=True)
        rows = np.arange(self.asked.samples) % len(self.real.test)
        if contender.startswith("karat:"):
            spec = self.spec(contender.removeprefix("karat:"), minutes)
            (self.scratch / "spec.json").write_text(spec.to_json())
            command = [sys.executable, HERE / "own.py", self.store.folder, self.scratch / "spec.json", out, self.asked.samples]
        else:
            data = self.scratch / "data.npz"
            write_data(data, **self.peer_data(rows))
            python = HERE / ".env-peers" / "bin" / "python"
            command = [python, HERE / "peers" / f"{contender}.py", "--data", data, "--out", out]
            command += ["--seconds", 120 * minutes / self.asked.threads, "--threads", self.asked.threads]
            command += ["--seed", self.asked.seed, "--samples", self.asked.samples, "--settings", self.asked.peer_settings]
        subprocess.run([str(word) for word in command], check=True)
        made = np.load(out)
        conditioned = contender.startswith("karat:") or bool((made["y"] >= 0).all())
        values = torch.from_numpy(made["x"]).float() / 127.5 - 1
        labels = self.real.test.labels
        known = Values(
            values,
            labels[rows] if labels is not None and conditioned else None,
            torch.from_numpy(rows) if labels is None and conditioned else None,
        )
        return known, {"about": json.loads(str(made["meta"]))}

    def peer_data(self, rows: np.ndarray) -> dict[str, Any]:
        """Give the training part as the peers read it."""
        parts = list(self.real.train)
        labels = [part.labels for part in parts if part.labels is not None]
        texts = [str(condition_of(sample, "text") or "") for sample in self.snapshot.samples("train")]
        test = [str(condition_of(sample, "text") or "") for sample in self.snapshot.samples("test")]
        return {
            "train_x": pixels(torch.cat([part.values for part in parts])),
            "train_y": torch.cat(labels).numpy() if labels else None,
            "train_text": texts if any(texts) else None,
            "want_y": self.real.test.labels[rows].numpy() if self.real.test.labels is not None else None,
            "want_text": [test[row] for row in rows] if any(test) else None,
        }

    def scores(self, made: Values) -> dict[str, Any]:
        """Score samples as every contender's are scored."""
        evaluation: Evaluation = result_of(evaluate(made, self.real, self.options, yardstick=self.yardstick))
        kept = ("value", "low", "high", "count", "reference_count")
        scores = {s.name: {key: getattr(s, key) for key in kept} for s in evaluation.scores}
        floors = {s.name: s.floor.model_dump() for s in evaluation.scores if s.floor}
        return {
            "scores": scores,
            "floor": floors,
            "baselines": {s.name: s.baselines for s in evaluation.scores},
            **machine(),
            "threads": self.asked.threads,
        }


def pixels(values: torch.Tensor) -> np.ndarray:
    return ((values + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy()


def summary(scores: dict[str, Any]) -> str:
    """Say the main figures beside their floors."""

    def each() -> Iterator[str]:
        for name in ("fd/judge", "fd/random-conv", "kid/random-conv", "condition-accuracy/judge", "closer-to-training/pixels"):
            if name in scores["scores"]:
                floor = scores["floor"].get(name)
                yield f"{name} {scores['scores'][name]['value']:.3g}" + (f" (floor {floor['value']:.3g})" if floor else "")

    return ", ".join(each())


if __name__ == "__main__":
    main()
