"""Writing: tokens per second of Karat's own engine, transformers.generate, CTranslate2 and llama.cpp, on the same 11 M weights.

    python benchmarks/text_generation.py

The likeliest token is taken each time, so that the programs can be compared token by token; the weights are drawn by chance, since speed
does not depend on what they say, and never end a text. Each program is a process of its own, since their threads get in each other's way;
they are timed in turn, round after round, and the median counts. Each is tried with two threads and with one. llama.cpp takes part where it
is in the peers' environment.
"""

import argparse
import json
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
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
from karat.work.export.gguf_file import FILE, Gguf
from karat.work.export.huggingface import HuggingFace
from karat.work.export.language import LanguageModel, Precision
from karat.work.generation import Ready
from karat.work.orders import Order, WritingOptions
from karat.work.writing import Writer

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "text-generation.json"
LLAMA = (str(HERE / ".env-peers" / "bin" / "python"), str(HERE / "peers" / "llama_writing.py"))
BATCHES = (1, 16)
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16", "int8")
PROMPT = 16
Prompts = Sequence[Sequence[int]]
Program = Callable[[Prompts, int], list[list[int]]]
Making = Callable[[Ready, Path, int], Program]


def main() -> None:
    """Time all programs at each batch and record a row for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--depth", type=int, default=6)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    size, vocab = (ready := drawn(asked.width, asked.depth)).model.parameter_count(), ready.made.space.vocab or 0
    makings: dict[str, Making] = {OwnEngine.named(kind): partial(karat, kind) for kind in PRECISIONS}
    makings |= {"transformers": transformers, **{f"ctranslate2 {kind}": partial(ctranslate, kind) for kind in CTranslate2.precisions}}
    if subprocess.run([LLAMA[0], "-c", "import llama_cpp"], capture_output=True, check=False).returncode == 0:
        makings |= {f"llama.cpp {kind}": partial(llama, kind) for kind in Gguf.precisions}
    with ExitStack() as running:
        programs = {
            f"{name}, {threads} thread{'s' * (threads > 1)}": running.enter_context(apart(making, asked.width, asked.depth, threads))
            for name, making in makings.items()
            for threads in (2, 1)
        }
        for batch in BATCHES:
            generator = torch.Generator().manual_seed(batch)
            prompts = torch.randint(4, vocab, (batch, PROMPT), generator=generator).tolist()
            times, texts = timed(programs, prompts, asked.tokens, asked.rounds)
            speeds = {name: batch * asked.tokens / seconds for name, seconds in times.items()}
            peer = max(speed for name, speed in speeds.items() if name.startswith("transformers"))
            for name, speed in speeds.items():
                row = {"what": "text generation", "data": f"{batch} at once", "contender": name, "tokens_per_second": speed}
                row |= {"times_transformers_at_its_best": speed / peer, "same_tokens": texts[name] == texts["karat, 2 threads"]}
                row |= {"parameters": size, "tokens": asked.tokens}
                record(RESULTS, row | machine() | {"threads": None}, key=("contender", "data"))
                print(f"{batch:2d} at once  {name:30s} {speed:8.0f} tokens/s, {speed / peer:5.2f}, same: {row['same_tokens']}", flush=True)


def timed(programs: dict[str, Program], prompts: Prompts, most: int, rounds: int) -> tuple[dict[str, float], dict[str, list[list[int]]]]:
    """Give the median seconds of each program, and what it wrote."""
    texts = {name: program(prompts, most) for name, program in programs.items()}
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(rounds):
        for name, program in programs.items():
            began = time.perf_counter()
            program(prompts, most)
            seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(each) for name, each in seconds.items()}, texts


@contextmanager
def apart(making: Making, width: int, depth: int, threads: int) -> Iterator[Program]:
    """Run a program in a process of its own."""
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve, args=(there, making, width, depth, threads), daemon=True)
    process.start()

    def write(prompts: Prompts, most: int) -> list[list[int]]:
        here.send((prompts, most))
        made: list[list[int]] = here.recv()
        return made

    try:
        yield write
    finally:
        process.terminate()
        process.join()


def serve(pipe: Connection, making: Making, width: int, depth: int, threads: int) -> None:
    """Write what is asked for, until the end."""
    torch.set_num_threads(threads)
    with TemporaryDirectory() as folder:
        program = making(drawn(width, depth), Path(folder), threads)
        while True:
            prompts, most = pipe.recv()
            pipe.send(program(prompts, most))


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


def karat(precision: Precision, ready: Ready, folder: Path, threads: int) -> Program:
    """Write with Karat, text and all."""
    assert isinstance(ready.made, TextCodec)
    writer = Writer(ready.model, ready.made, precision=precision)

    def write(prompts: Prompts, most: int) -> list[list[int]]:
        options = WritingOptions(temperature=0, most=most)
        return [list(made.ids) for made in writer.written([Order(prompt, options) for prompt in prompts])]

    return write


def transformers(ready: Ready, folder: Path, threads: int) -> Program:
    """Write with transformers, as its documents say for speed on a CPU: a cache, no gradients."""
    from transformers import AutoModelForCausalLM

    HuggingFace().write(LanguageModel.of(ready), folder, "float32")
    model: Any = AutoModelForCausalLM.from_pretrained(folder).eval()

    def write(prompts: Prompts, most: int) -> list[list[int]]:
        ids = torch.tensor([[0, *prompt] for prompt in prompts])
        with torch.inference_mode():
            made = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=most, do_sample=False)
        return made[:, ids.shape[1] :].tolist()

    return write


def ctranslate(precision: Precision, ready: Ready, folder: Path, threads: int) -> Program:
    """Write with CTranslate2."""
    language = LanguageModel.of(ready)
    CTranslate2().write(language, folder, precision)
    return CTranslateEngine(folder, language, precision, threads=threads).write


def llama(precision: Precision, ready: Ready, folder: Path, threads: int) -> Program:
    """Write with llama.cpp, which keeps keys and values in float32 here, as the others do."""
    Gguf().write(LanguageModel.of(ready), folder, precision)
    command = [*LLAMA, "--model", str(folder / FILE), "--threads", str(threads)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    into, out = process.stdin, process.stdout
    assert into is not None
    assert out is not None
    out.readline()

    def write(prompts: Prompts, most: int) -> list[list[int]]:
        print(json.dumps({"prompts": [[0, *prompt] for prompt in prompts], "most": most}), file=into, flush=True)
        made: list[list[int]] = json.loads(out.readline())
        return made

    return write


if __name__ == "__main__":
    main()
