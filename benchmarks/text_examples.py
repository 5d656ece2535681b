"""The examples of text tasks: builds their data, trains for some steps, measures, and records real outputs with their scores.

    python benchmarks/text_examples.py translate --captions stamps/metadata.jsonl emoji/metadata.jsonl
    python benchmarks/text_examples.py chat
    python benchmarks/text_examples.py write --topics quotes.jsonl
    python benchmarks/text_examples.py summarise
    python benchmarks/text_examples.py answer
    python benchmarks/text_examples.py label

Answers are chosen by their scores alone: the four best, the four worst, and the first four. Of texts on a topic the first twelve are shown.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from datasets import DATA, machine
from results import record

from karat.app.evaluating import EvaluatingOptions, evaluate_run, open_run
from karat.material.data.importing import import_source
from karat.material.data.samples import source_of
from karat.material.data.snapshots import Snapshot, SnapshotSpec, make_snapshot
from karat.material.metrics.texts.copying import find_copies
from karat.material.metrics.texts.overlap import by_sacrebleu
from karat.store.store import Store
from karat.values.given import Given
from karat.values.passages import Passage
from karat.work.following import Following
from karat.work.recipes.dials import Dials
from karat.work.runs import plan_run, run

HERE = Path(__file__).parent
BUILD = HERE.parent / "examples" / "text" / "build.py"
STEPS = {"translate": 1200, "chat": 800, "write": 300, "summarise": 300, "answer": 600, "label": 500}
"""What two to five minutes of one core are good for."""
SCORES = ("bits-per-byte", "chrf", "bleu", "rouge-l", "exact", "longest-copied")
BESIDE = ("nearest training", "another's")
"""What stands beside scores of answers: the answer to the training prompt that is most alike, the answer to another prompt."""
WRITTEN = 200
EACH = 4


def main() -> None:
    """Run the example that the command line names, and record it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=STEPS)
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--store", help="a folder to keep everything in; a run that is finished there is not trained again")
    parser.add_argument("--captions", nargs="+", default=[DATA / name / "metadata.jsonl" for name in ("stamps", "emoji")])
    parser.add_argument("--back", action="store_true", help="translate from Chinese")
    parser.add_argument("--topics", default=DATA / "text" / "quotes.jsonl")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    begun = machine()
    with tempfile.TemporaryDirectory() as scratch:
        store = Store.open(asked.store or Path(scratch) / "store")
        snapshot = snapshot_of(store, asked, Path(scratch) / f"{asked.task}.jsonl")
        dials = Dials.from_values({"steps": asked.steps or STEPS[asked.task], "changes": {"plan.threads": 1}})
        *_, trained = run(store, plan_run(store, snapshot, dials))
        options = EvaluatingOptions.from_values({"samples": WRITTEN, "seed": 1})
        *_, scored = evaluate_run(store, trained.result, options)
        evaluation = store.get(scored.result).facts["evaluation"]
        row = {
            "what": "text examples",
            "data": f"{asked.task}{', from Chinese' if asked.back else ''}",
            "contender": "karat",
            "minutes": store.get(trained.result).facts["figures"]["seconds"] / 60,
            "scores": dict(shown(evaluation["scores"])),
            "outputs": list(outputs(store, trained.result, writes=asked.task == "write")),
            **begun,
            "threads": 1,
        }
        store.close()
    record(HERE / "results" / "text-examples.json", row, key=("data", "contender"))
    print(json.dumps(row, indent=1, ensure_ascii=False))


def snapshot_of(store: Store, asked: argparse.Namespace, file: Path) -> str:
    """Build the data of a task and give its snapshot."""
    words = {
        "translate": ["--captions", *asked.captions, *(["--back"] if asked.back else [])],
        "write": ["--topics", asked.topics],
    }
    subprocess.run([sys.executable, BUILD, asked.task, file, *words.get(asked.task, [])], check=True)
    *_, source = import_source(store, file)
    *_, snapshot = make_snapshot(store, SnapshotSpec(sources=(source.result,)))
    return str(snapshot.result)


def shown(scores: list[dict[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Give the scores with their intervals, and those of answers that take no model."""
    for score in scores:
        name = score["name"].partition("/")[0]
        if name in SCORES:
            yield name, {each: score[each] for each in ("value", "low", "high")}
            if name in ("chrf", "rouge-l", "exact"):
                yield from ((f"{name}, {each}", score["baselines"][each]) for each in BESIDE if each in score["baselines"])


def outputs(store: Store, ref: str, *, writes: bool) -> Iterator[dict[str, Any]]:
    """Write after held-out prompts and give the best, the worst and some others. Answers score by chrF; texts by what they copied."""
    _, ready, spec = open_run(store, ref)
    snapshot = Snapshot.open(store, spec.snapshot)
    passages = [source_of(store, sample) for sample in islice(snapshot.samples("test"), WRITTEN)]
    held_out = [passage for passage in passages if isinstance(passage, Passage)]
    follow = Following(ready, Given(), {"temperature": 0.7, "top_p": 0.95} if writes else {}, seed=1)
    prompts = [passage.opening() for passage in held_out]
    texts = follow(prompts, rows=range(len(prompts)), most=ready.made.length, greedy=not writes)
    references = [passage.turns[-1].text for passage in held_out]
    if writes:
        train = (source_of(store, sample).learnt() for sample in snapshot.samples("train"))
        scores = [copied.longest for copied in find_copies(texts, train)]
    else:
        chrf = by_sacrebleu("chrf")
        scores = [chrf.sentence_score(text, [reference]).score for text, reference in zip(texts, references, strict=True)]
    order = sorted(range(len(texts)), key=lambda row: -scores[row])
    kinds = {"first": range(3 * EACH)} if writes else {"best": order[:EACH], "first": range(EACH), "worst": order[-EACH:]}
    for kind, rows in kinds.items():
        for row in rows:
            said = " / ".join(turn.text for turn in prompts[row].turns)
            known = {"prompt": said, "written": texts[row], "reference": references[row]}
            yield {"kind": kind, **known, "score": f"{scores[row]} in a row copied" if writes else f"chrF {scores[row]:.0f}"}


if __name__ == "__main__":
    main()
