"""Compression: what fewer bits for each number of a language model save, and what they cost.

    python benchmarks/compression.py --minutes 5
    python benchmarks/compression.py --minutes 0.3 --width 64 --depth 2

One model learns the documents of `pydoc_data.topics`, by default of about 10 million parameters. Each engine then reads the test documents
and writes with the likeliest id, in turns with the others. Size is that of the weights' file as it is exported. Bits per byte are those of
the evaluation: windows half a row apart, each id counted once. Results go to `benchmarks/results/compression.json`.
"""

import argparse
import copy
from collections.abc import Sequence
from math import log
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from bits_per_byte import THREADS, Bench
from datasets import machine
from results import record

from karat.app.evaluating import open_run
from karat.learning.models import Model
from karat.material.metrics.texts.likelihood import windows_of
from karat.values.codecs.text import TextCodec
from karat.values.given import Given
from karat.work.engines.ctranslate import CTranslateEngine
from karat.work.engines.engine import Engine, Probe, measure, until_end
from karat.work.engines.own import OwnEngine
from karat.work.export import ctranslate, huggingface  # noqa: F401 - the formats register themselves
from karat.work.export.language import LanguageModel, Precision, exporters
from karat.work.generation import Ready
from karat.work.recipes.recipes import Dials
from karat.work.runs import plan_run, run

HERE = Path(__file__).parent
FORMS: tuple[tuple[str, Precision], ...] = (("hf", "float32"), ("hf", "bfloat16"), ("ctranslate2", "float32"), ("ctranslate2", "int8"))


def main() -> None:
    """Train once, then measure each form."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--depth", type=int, default=7)
    parser.add_argument("--threads", type=int, default=THREADS)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    with TemporaryDirectory() as scratch:
        bench = Bench("topics", Path(scratch))
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
    folder.mkdir()
    exporters[to].write(language, folder, precision)
    size = max(path.stat().st_size for path in folder.iterdir())
    if to == "hf":
        return (OwnEngine if precision == "float32" else RoundedEngine)(ready.model, language.ends), size
    return CTranslateEngine(folder, language, precision, threads=threads), size


class RoundedEngine:
    """Karat's model with matrices and what goes through them in bfloat16, stepped in the plain way: its decoder is for float32."""

    name = "karat bfloat16"
    precision: Precision = "bfloat16"

    def __init__(self, model: Model, ends: Sequence[int]) -> None:
        rounded = copy.deepcopy(model)
        for parameter in rounded.parameters():
            if parameter.ndim > 1:
                parameter.data = parameter.data.bfloat16()
        self.family, self.ends = rounded.family, ends

    def write(self, prompts: Sequence[Sequence[int]], most: int) -> list[list[int]]:
        """Write texts of one length of prompt together, as a benchmark has them; of several lengths one by one."""
        if len({len(prompt) for prompt in prompts}) > 1:
            return [self.write([prompt], most)[0] for prompt in prompts]
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            return [until_end(row, self.ends) for row in self._greedy(torch.tensor([list(prompt) for prompt in prompts]), most)]

    def nats(self, rows: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """Read rows one by one."""
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            return [self.family.errors(torch.tensor([row]), Given())[0].double().numpy() for row in map(list, rows)]

    def _greedy(self, ids_BN: torch.Tensor, most: int) -> list[list[int]]:
        net, at, ends = self.family.net, ids_BN.shape[1] + 1, torch.tensor(self.ends)
        caches = net.caches()
        x_BND = torch.cat([net.opening(Given(), len(ids_BN)), *(net.embed(ids_BN[:, n], n + 1) for n in range(at - 1))], 1)
        made = [net.step(x_BND, 0, caches).argmax(-1)]
        ended = torch.isin(made[0], ends)
        while len(made) < most and not ended.all():
            made.append(net.step(net.embed(made[-1], at), at, caches).argmax(-1))
            ended, at = ended | torch.isin(made[-1], ends), at + 1
        return torch.stack(made, 1).tolist()


def bits_per_byte(engine: Engine, codec: TextCodec, texts: Sequence[str]) -> float:
    """Give what a byte of some documents costs."""
    windows = windows_of([codec.written(text) for text in texts], codec.length, stride=codec.length // 2)
    nats = np.stack(engine.nats(windows.ids_WN.tolist()))
    return float(nats[windows.counted_WN.numpy()].sum()) / log(2) / sum(len(text.encode()) for text in texts)


if __name__ == "__main__":
    main()
