"""Writing: tokens per second of Karat's own engine against transformers.generate and CTranslate2, on the same 11 M weights.

    python benchmarks/text_generation.py

The likeliest token is taken each time, so that the programs can be compared token by token; the weights are drawn by chance, since speed
does not depend on what they say, and never end a text. Each program is timed in turn, round after round; the median counts. All may take
two threads. Karat takes one for a net of this size, so the others are timed with one as well: two are slower where anything else runs.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from datasets import machine
from results import record

from karat.learning.families.autoregressive import Autoregressive
from karat.learning.models import Model, ModelSpec
from karat.values.codecs.text import TextCodec
from karat.work.engines.ctranslate import CTranslateEngine
from karat.work.engines.own import OwnEngine
from karat.work.export.ctranslate import CTranslate2
from karat.work.export.huggingface import HuggingFace
from karat.work.export.language import LanguageModel, Precision
from karat.work.generation import Ready
from karat.work.orders import Order, WritingOptions
from karat.work.writing import Writer

RESULTS = Path(__file__).parent / "results" / "text-generation.json"
BATCHES = (1, 16)
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16", "int8")
PROMPT = 16
Program = Callable[[Sequence[Sequence[int]], int], list[list[int]]]


def main() -> None:
    """Time all programs at each batch and record a row for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--depth", type=int, default=6)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    ready = drawn(asked.width, asked.depth)
    size = ready.model.parameter_count()
    with TemporaryDirectory() as folder:
        programs = {OwnEngine.named(kind): karat(ready, kind) for kind in PRECISIONS}
        for threads in (asked.threads, 1):
            place, said = Path(folder) / str(threads), "" if threads == asked.threads else ", 1 thread"
            place.mkdir()
            programs[f"transformers{said}"] = transformers(ready, place, threads)
            programs |= {f"ctranslate2 {kind}{said}": ctranslate(ready, place, kind, threads) for kind in CTranslate2.precisions}
        for batch in BATCHES:
            generator = torch.Generator().manual_seed(batch)
            prompts = torch.randint(4, ready.made.space.vocab or 0, (batch, PROMPT), generator=generator).tolist()
            times, texts = timed(programs, prompts, asked.tokens, asked.rounds)
            for name in programs:
                speed, own, peer = (batch * asked.tokens / times[each] for each in (name, "karat", "transformers"))
                row = {"what": "text generation", "contender": name, "batch": batch, "parameters": size, "tokens": asked.tokens}
                row |= {"tokens_per_second": speed, "times_transformers": speed / peer, "karat_is_times_as_fast": own / speed}
                row["same_tokens"] = texts[name] == texts["karat"]
                record(RESULTS, row | machine() | {"threads": asked.threads}, key=("contender", "batch"))
                print(f"batch {batch:2d}  {name:30s} {speed:8.0f} tokens/s, {speed / peer:5.2f}, same: {row['same_tokens']}", flush=True)


def timed(
    programs: dict[str, Program], prompts: Sequence[Sequence[int]], most: int, rounds: int
) -> tuple[dict[str, float], dict[str, list[list[int]]]]:
    """Give the median seconds of each program, and what it wrote."""
    texts = {name: program(prompts, most) for name, program in programs.items()}
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(rounds):
        for name, program in programs.items():
            began = time.perf_counter()
            program(prompts, most)
            seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(each) for name, each in seconds.items()}, texts


def drawn(width: int, depth: int) -> Ready:
    """Give a model with weights drawn by chance, that never ends a text or begins a turn."""
    text = "".join(map(chr, [*range(32, 127), *range(0x4E00, 0x4E00 + 1024 - 260 - 95)]))
    codec = TextCodec.fit({"units": "characters", "vocab": 1024, "packing": "stream", "length": 256}, [text])
    family = {"kind": "autoregressive", "net": {"kind": "transformer", "width": width, "depth": depth}}
    model = Model(ModelSpec.from_values({"space": codec.space, "family": family}))
    assert isinstance(model.family, Autoregressive)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.03)
        model.family.net.leave.weight[:4] = 0
    return Ready(model.eval(), codec, {})


def karat(ready: Ready, precision: Precision) -> Program:
    """Write with Karat, text and all."""
    assert isinstance(ready.made, TextCodec)
    writer = Writer(ready.model, ready.made, precision=precision)

    def write(prompts: Sequence[Sequence[int]], most: int) -> list[list[int]]:
        options = WritingOptions(temperature=0, most=most)
        return [list(made.ids) for made in writer.written([Order(prompt, options) for prompt in prompts])]

    return write


def transformers(ready: Ready, folder: Path, threads: int) -> Program:
    """Write with transformers, as its documents say for speed on a CPU: a cache, no gradients."""
    from transformers import AutoModelForCausalLM

    place = folder / "hf"
    place.mkdir()
    HuggingFace().write(LanguageModel.of(ready), place, "float32")
    model: Any = AutoModelForCausalLM.from_pretrained(place).eval()

    def write(prompts: Sequence[Sequence[int]], most: int) -> list[list[int]]:
        ids, before = torch.tensor([[0, *prompt] for prompt in prompts]), torch.get_num_threads()
        torch.set_num_threads(threads)
        with torch.inference_mode():
            made = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=most, do_sample=False)
        torch.set_num_threads(before)
        return made[:, ids.shape[1] :].tolist()

    return write


def ctranslate(ready: Ready, folder: Path, precision: Precision, threads: int) -> Program:
    """Write with CTranslate2."""
    place = folder / f"ct2-{precision}"
    place.mkdir()
    language = LanguageModel.of(ready)
    CTranslate2().write(language, place, precision)
    return CTranslateEngine(place, language, precision, threads=threads).write


if __name__ == "__main__":
    main()
