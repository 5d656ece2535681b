"""Texts from a release of 11 M parameters: tokens a second and p95 with 1, 8 and 32 clients, beside transformers.generate under FastAPI.

    python benchmarks/serving/texts.py

The same weights, prompts and number of likeliest tokens; each may take two threads, and the peer is tried with one, too. It is run as such
servers usually are, each request in a thread, and with a lock, one after the other; the best of all is what Karat is compared with. Karat
also keeps each text.
"""

import random
import string
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from load import Ask, in_rounds
from recording import asked
from releases import put, texts
from servers import karat, keys, payload, peer

from karat.work.export.huggingface import HuggingFace
from karat.work.export.language import LanguageModel

CLIENTS = (1, 8, 32)
PROMPT, PROMPTS = 16, 32


def main() -> None:
    """Ask each server in turn, with each number of clients."""
    options, results = asked("texts", __doc__, seconds=4.0, rounds=3, tokens=32, threads=2)
    chance = random.Random(0)
    prompts = ["".join(chance.choices(string.ascii_lowercase, k=PROMPT)) for _ in range(PROMPTS)]
    with TemporaryDirectory() as folder, ExitStack() as running:
        store, exported, ready = Path(folder) / "store", Path(folder) / "hf", texts()
        exported.mkdir()
        put(store, ready, "texts:live")
        HuggingFace().write(LanguageModel.of(ready), exported, "float32")
        (key,) = keys(store)
        own = {"model": "texts:live", "max_tokens": options.tokens, "temperature": 0, "seed": "{n}"}
        asks = tuple(Ask(path="/v1/completions", key=key, body=payload(prompt=prompt, **own)) for prompt in prompts)
        plain = tuple(Ask(path="/generate", body=payload(prompt=prompt, max_tokens=options.tokens)) for prompt in prompts)
        program, words, threads = "transformers_server.py", ("--model", str(exported)), ("--threads", str(options.threads))
        servers = {
            "karat": (running.enter_context(karat(store, *threads)), asks),
            "transformers, in threads": (running.enter_context(peer(program, store, *words, *threads)), plain),
            "transformers, one at a time": (running.enter_context(peer(program, store, *words, *threads, "--alone")), plain),
            "transformers, one at a time, 1 thread": (running.enter_context(peer(program, store, *words, "--alone")), plain),
        }
        plans = {name: server.plan(some, options.seconds) for name, (server, some) in servers.items()}
        measured = in_rounds(plans, CLIENTS, options.rounds, {name: server.spent for name, (server, _) in servers.items()})
    for (contender, clients), figures in measured.items():
        data = f"{options.tokens} tokens, {clients} client{'s' if clients > 1 else ''}"
        own_figures = measured["karat", clients]
        told = {
            "tokens a second": options.tokens * figures["a second"],
            "p95 s": figures["p95 s"],
            "karat is times as fast": own_figures["a second"] / figures["a second"],
            "CPU ms a token": 1000 * figures["CPU s"] / options.tokens,
            "times karat's": figures["CPU s"] / own_figures["CPU s"],
            "parameters": ready.model.parameter_count(),
        }
        results.add(contender, data, told)


if __name__ == "__main__":
    main()
