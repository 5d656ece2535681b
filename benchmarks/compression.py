"""Compression: what fewer bits for each number of a language model save, and what they cost.

    python benchmarks/compression.py --minutes 5
    python benchmarks/compression.py --minutes 0.3 --width 64 --depth 2

One model learns the documents of `pydoc_data.topics`, by default of about 10 million parameters. Each engine then reads the test documents
and writes with the likeliest id, in turns with the others. Size is that of the weights' file as it is exported; of Karat's own int8, which
is made when it writes, that of its numbers in memory. Bits per byte are those of the evaluation: windows half a row apart, each id counted
once. Results go to `benchmarks/results/compression.json`.
"""

import argparse
from collections.abc import Sequence
from math import log
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from bits_per_byte import Bench
from datasets import machine
from results import record

from karat.app.evaluating import open_run
from karat.learning.nets.decoding import threads_for
from karat.material.metrics.texts.likelihood import windows_of
from karat.values.codecs.text import TextCodec
from karat.work.engines.ctranslate import CTranslateEngine
from karat.work.engines.engine import Engine, Probe, measure
from karat.work.engines.own import OwnEngine
from karat.work.export import ctranslate, huggingface  # noqa: F401 - the formats register themselves
from karat.work.export.language import LanguageModel, Precision, exporters
from karat.work.generation import Ready
from karat.work.recipes.dials import Dials
from karat.work.runs import plan_run, run

HERE = Path(__file__).parent
FORMS: tuple[tuple[str, Precision], ...] = (
    ("hf", "float32"),
    ("hf", "bfloat16"),
    ("own", "int8"),
    ("ctranslate2", "float32"),
    ("ctranslate2", "int8"),
)


def main() -> None:
    """Train once, then measure each form."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--depth", type=int, default=7)
    parser.add_argument("--threads", type=int, choices=[1, 2], default=2)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    with TemporaryDirectory() as scratch:
        bench = Bench("topics", Path(scratch), asked.threads)
        ready = trained(bench, asked)
        codec = ready.made
        assert isinstance(codec, TextCodec)
        forms = [form(ready, Path(scratch), to, precision, asked.threads) for to, precision in FORMS]
        texts = bench.documents["test"] + bench.documents["validation"]
        rows = [ids[: codec.length] for ids in map(codec.ids, texts) if len(ids) >= codec.length]
        figures = measure([engine for engine, _ in forms], Probe.of(rows, codec))
        for (engine, size), found in zip(forms, figures, strict=True):
            scores: dict[str, Any] = {"bytes": size, "bits per byte": bits_per_byte(engine, codec, bench.documents["test"])}
            scores |= {f"tokens/s, {batch} at once": speed for batch, speed in found.tokens_per_second.items()}
            scores["same greedy texts"] = found.same
            row = {"what": "compression", "data": "topics", "contender": engine.name, "minutes": asked.minutes, "scores": scores}
            row |= {"about": {"parameters": ready.model.parameter_count(), "vocab": codec.space.vocab, "context": codec.length}}
            record(HERE / "results" / "compression.json", row | machine() | {"threads": asked.threads}, key=("data", "contender"))
            print(f"{engine.name:20s} {scores}", flush=True)


def trained(bench: Bench, asked: argparse.Namespace) -> Ready:
    """Train the model that all engines write with."""
    changes = {"family.net.width": asked.width, "family.net.depth": asked.depth, "plan.judged": 0, "plan.threads": asked.threads}
    spec = plan_run(bench.store, bench.snapshot.id, Dials(family="autoregressive", minutes=asked.minutes, changes=changes))
    *_, finished = run(bench.store, spec)
    return open_run(bench.store, finished.result)[1]


def form(ready: Ready, scratch: Path, to: str, precision: Precision, threads: int) -> tuple[Engine, int]:
    """Give the engine of a form, and the bytes of its weights."""
    language, folder = LanguageModel.of(ready), scratch / f"{to}-{precision}"
    if to == "own":
        return OwnEngine(ready.model, language.ends, precision), size_in_int8(language)
    folder.mkdir()
    exporters[to].write(language, folder, precision)
    size = max(path.stat().st_size for path in folder.iterdir())
    if to == "hf":
        return OwnEngine(ready.model, language.ends, precision), size
    return CTranslateEngine(folder, language, precision, threads=min(threads, threads_for(ready.model.parameter_count()))), size


def size_in_int8(language: LanguageModel) -> int:
    """Give the bytes of a model whose matrices are whole numbers with a scale for each row, all else float32."""
    sizes = []
    for name, weight in language.weights.items():
        whole = weight.ndim > 1 and "embed" not in name
        sizes.append(weight.numel() + 4 * len(weight) if whole else 4 * weight.numel())
    return sum(sizes)


def bits_per_byte(engine: Engine, codec: TextCodec, texts: Sequence[str]) -> float:
    """Give what a byte of some documents costs."""
    windows = windows_of([codec.written(text) for text in texts], codec.length, stride=codec.length // 2)
    nats = np.stack(engine.nats(windows.ids_WN.tolist()))
    return float(nats[windows.counted_WN.numpy()].sum()) / log(2) / sum(len(text.encode()) for text in texts)


if __name__ == "__main__":
    main()
