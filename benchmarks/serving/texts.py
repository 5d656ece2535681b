"""Texts from a release of 11 M parameters: tokens a second and p95 with 1, 8 and 32 clients, beside transformers.generate under FastAPI.

    python benchmarks/serving/texts.py

The same weights, prompts and number of likeliest tokens, two threads for each. The peer is run as such servers usually are, each request in
a thread, and with a lock, one after the other; the better of the two is what Karat is compared with. Karat also keeps each text.
"""

import random
import string
from pathlib import Path
from tempfile import TemporaryDirectory

from load import Ask, Plan, drive, quantile, rate
from recording import asked
from releases import put, texts
from servers import Server, karat, keys, payload, peer

from karat.work.export.huggingface import HuggingFace
from karat.work.export.language import LanguageModel

CLIENTS = (1, 8, 32)
PROMPT, PROMPTS = 16, 32


def main() -> None:
    """Ask each server in turn, with each number of clients."""
    options, results = asked("texts", __doc__, seconds=10.0, tokens=64)
    chance, measured = random.Random(0), dict[tuple[str, int], dict[str, float]]()
    prompts = ["".join(chance.choices(string.ascii_lowercase, k=PROMPT)) for _ in range(PROMPTS)]

    def measure(server: Server, contender: str, asks: tuple[Ask, ...]) -> None:
        for clients in (1, *CLIENTS):  # the first time warms up
            plan = Plan(host=server.host, port=server.port, asks=asks, seconds=options.seconds, clients=clients)
            answers = drive(plan)
            times = [answer.seconds for answer in answers]
            measured[contender, clients] = {"tokens a second": options.tokens * rate(answers), "p95 s": quantile(times, 0.95)}

    with TemporaryDirectory() as folder:
        store, exported, ready = Path(folder) / "store", Path(folder) / "hf", texts()
        exported.mkdir()
        put(store, ready, "texts:live")
        HuggingFace().write(LanguageModel.of(ready), exported, "float32")
        plain = tuple(Ask(path="/generate", body=payload(prompt=prompt, max_tokens=options.tokens)) for prompt in prompts)
        for contender, words in (("transformers, in threads", ()), ("transformers, one at a time", ("--alone",))):
            with peer("transformers_server.py", Path(folder), "--model", str(exported), *words) as server:
                measure(server, contender, plain)
        (key,) = keys(store)
        own = {"model": "texts:live", "max_tokens": options.tokens, "temperature": 0, "seed": "{n}"}
        asks = tuple(Ask(path="/v1/completions", key=key, body=payload(prompt=prompt, **own)) for prompt in prompts)
        with karat(store) as server:
            measure(server, "karat", asks)
    for (contender, clients), figures in measured.items():
        data = f"{options.tokens} tokens, {clients} client{'s' if clients > 1 else ''}"
        share = measured["karat", clients]["tokens a second"] / figures["tokens a second"]
        results.add(contender, data, figures | {"karat is times as fast": share, "parameters": ready.model.parameter_count()})


if __name__ == "__main__":
    main()
