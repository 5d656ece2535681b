"""Bits per byte at equal wall-clock: Karat's default for text and its peers learn the same documents for the same time.

    python benchmarks/bits_per_byte.py topics --minutes 2 5 --seeds 0 1 2
    python benchmarks/bits_per_byte.py quotes --minutes 2 --only karat:autoregressive nanogpt:documented

Each contender is a process of its own, one after the other, two threads each (or one, for twice the time, where a machine cannot be had
alone), on the training and validation documents of one snapshot.
Each says what every test document costs it in nats, read with the context it was trained with in windows that move by half of it, the mark
of the end included; divided by the documents' bytes that compares, whatever the tokens are. Intervals come from resampling the documents,
at the mean over the seeds; the spread over the seeds stands beside them. Results go to `benchmarks/results/bits-per-byte.json`.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from pydoc_data import topics
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from datasets import TEXTS, machine
from peers.texts import PARTS, write_documents
from results import record

from karat.material.data.importing import import_source
from karat.material.data.samples import source_of
from karat.material.data.snapshots import Snapshot, SnapshotSpec, make_snapshot
from karat.store.store import Store
from karat.values.passages import normal
from karat.work.recipes.recipes import Dials
from karat.work.runs import plan_run

HERE = Path(__file__).parent
OURS = "karat:autoregressive"
CONTENDERS = (OURS, "nanogpt:documented", "nanogpt:tuned", "trainer_gpt2:documented", "trainer_gpt2:tuned")
DATA = ("topics", "quotes", "tang300")
RESAMPLES = 2000


def main() -> None:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=DATA)
    parser.add_argument("--minutes", type=float, nargs="+", default=[2.0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", default=list(CONTENDERS), choices=CONTENDERS)
    parser.add_argument("--threads", type=int, choices=[1, 2], default=2)
    asked = parser.parse_args()
    with TemporaryDirectory() as scratch:
        bench = Bench(asked.data, Path(scratch), asked.threads)
        for minutes in asked.minutes:
            costs: dict[str, np.ndarray] = {}
            about: dict[str, dict[str, Any]] = {}
            for contender in asked.only:
                runs = [bench.costs(contender, minutes, seed) for seed in asked.seeds]
                costs[contender] = np.stack([nats for nats, _ in runs])
                about[contender] = {**runs[0][1], "seeds": asked.seeds, "by_seed": bench.by_seed(costs[contender])}
            for contender in asked.only:
                scores = bench.scores(costs[contender], costs.get(OURS) if contender != OURS else None)
                row = {"what": "bits per byte", "data": asked.data, "contender": contender, "minutes": minutes}
                row |= {"about": about[contender], "scores": scores, **machine(), "threads": asked.threads}
                record(HERE / "results" / "bits-per-byte.json", row, key=("data", "contender", "minutes"))
                print(f"{asked.data} {minutes:g} min {contender:24s} {scores} {about[contender]}", flush=True)


class Bench:
    """One set of documents, split once."""

    def __init__(self, data: str, scratch: Path, threads: int) -> None:
        self.scratch, self.threads = scratch, threads
        self.store = Store.open(scratch / "store")
        *_, source = import_source(self.store, folder_of(data, scratch))
        *_, snapshot = make_snapshot(self.store, SnapshotSpec(sources=(source.result,)))
        self.snapshot = Snapshot.open(self.store, str(snapshot.result))
        self.documents = {part: self._documents(part) for part in PARTS}
        self.bytes = np.array([len(text.encode()) for text in self.documents["test"]])
        write_documents(scratch / "documents.json", self.documents)
        print({part: (len(texts), sum(len(text.encode()) for text in texts)) for part, texts in self.documents.items()}, flush=True)

    def _documents(self, part: str) -> list[str]:
        return [normal(source_of(self.store, sample).plain()) for sample in self.snapshot.samples(part)]

    def costs(self, contender: str, minutes: float, seed: int) -> tuple[np.ndarray, dict[str, Any]]:
        """Train a contender and give the nats of each test document, and what the contender says of itself."""
        program, setting = contender.split(":")
        documents, spec_file, out = (self.scratch / name for name in ("documents.json", "spec.json", "nats.npz"))
        out.unlink(missing_ok=True)
        seconds, changes = 120 * minutes / self.threads, {"plan.judged": 0, "plan.threads": self.threads}
        spec = plan_run(self.store, self.snapshot.id, Dials(family="autoregressive", minutes=seconds / 60, seed=seed, changes=changes))
        if contender == OURS:
            spec_file.write_text(spec.to_json())
            command = [sys.executable, HERE / "own_text.py", self.store.folder, spec_file, documents, out]
        else:
            command = [HERE / ".env-peers" / "bin" / "python", HERE / "peers" / f"{program}.py", "--data", documents]
            command += ["--seconds", seconds, "--threads", self.threads, "--out", out, "--seed", seed, "--settings", setting]
            if program == "trainer_gpt2":
                command += ["--vocab", spec.model.space.vocab]
        subprocess.run([str(word) for word in command], check=True, env={**os.environ, "OMP_NUM_THREADS": str(self.threads)})
        made = np.load(out)
        return made["nats"], json.loads(str(made["meta"]))

    def by_seed(self, nats: np.ndarray) -> list[float]:
        return [float(each) for each in nats.sum(1) / np.log(2) / self.bytes.sum()]

    def scores(self, nats: np.ndarray, ours: np.ndarray | None) -> dict[str, Any]:
        """Give bits per byte with its interval, its spread over seeds and, for a peer, Karat's share of it on the same documents."""
        draws = np.random.default_rng(0).integers(len(self.bytes), size=(RESAMPLES, len(self.bytes)))
        mean, bits = nats.mean(0), np.log(2) * self.bytes
        scores: dict[str, Any] = {"bits-per-byte": share(mean, bits, draws)}
        if len(nats) > 1:
            scores["spread over seeds"] = float(np.std(self.by_seed(nats), ddof=1))
        if ours is not None:
            scores["karat / this"] = share(ours.mean(0), mean, draws)
        return scores


def share(part: np.ndarray, whole: np.ndarray, draws: np.ndarray) -> dict[str, float]:
    """Give the ratio of two sums over documents, with its 95 % interval over resampled documents."""
    low, high = np.quantile(part[draws].sum(1) / whole[draws].sum(1), (0.025, 0.975))
    return {"value": float(part.sum() / whole.sum()), "low": float(low), "high": float(high), "count": len(part)}


def folder_of(data: str, scratch: Path) -> Path:
    """Give a folder with one set of documents in it."""
    folder = scratch / data
    folder.mkdir()
    if data == "topics":
        lines = [json.dumps({"text": text}) for text in topics.topics.values()]
        (folder / "topics.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    else:
        (folder / f"{data}.jsonl").write_bytes((TEXTS / f"{data}.jsonl").read_bytes())
    return folder


if __name__ == "__main__":
    main()
