"""Karat's contender for text, as a process of its own: train a spec, write what each test document costs.

python benchmarks/own_text.py STORE SPEC.json DOCUMENTS.json OUT.npz
"""

import sys
import time
from pathlib import Path

import torch
from peers.texts import document_nats, read_documents, write_nats
from torch import Tensor

from karat.app.evaluating import open_run
from karat.store.store import Store
from karat.values.given import Given
from karat.work.plans import RunSpec
from karat.work.runs import run


def main(folder: str, spec_file: str, documents_file: str, out: str) -> None:
    """Train and score. Each window begins behind the mark of the end, as Karat's rows do."""
    store = Store.open(folder)
    *_, finished = run(store, RunSpec.from_json(Path(spec_file).read_bytes()))
    record, ready, spec = open_run(store, finished.result)
    torch.set_num_threads(spec.plan.threads or 2)
    model, codec = ready.model.eval(), ready.made

    def nats(ids: Tensor, following: Tensor) -> Tensor:
        return model.family.errors(following, Given())

    begun = time.perf_counter()
    documents = [codec.ids(text) for text in read_documents(Path(documents_file))["test"]]
    costs = document_nats(documents, nats, context=codec.length, end=0)
    figures = record.facts["figures"]
    meta = {
        "peer": "karat",
        "package": "karat",
        "parameters": model.parameter_count(),
        "units": codec.options.units,
        "vocab": codec.space.vocab,
        "context": codec.length,
        "steps": int(figures["steps"]),
        "chosen": int(figures["chosen"]),
        "training_seconds": figures["seconds"],
        "scoring_seconds": time.perf_counter() - begun,
        "settings": {"rate": spec.plan.rate, "batch": spec.plan.batch, "optimizer": spec.plan.optimizer, "bf16": spec.plan.bf16},
    }
    write_nats(Path(out), costs, meta)


if __name__ == "__main__":
    main(*sys.argv[1:5])
