"""Near duplicates of texts: documents per second, recall and precision on planted copies, beside datasketch in the same run.

    python benchmarks/near_duplicates.py --documents 100000

Each document is six to sixteen real sentences, drawn anew for each: English ones out of `pydoc_data.topics` and, where they are there,
quotes and Tang poems. One in ten is a copy of another in which 5 to 30 in a hundred words (characters, in Chinese) were replaced, deleted
or doubled. A link is right when it joins a copy to its original; precision is the share of right links among all by which groups were
joined. Each way runs in a process of its own. Karat is measured twice: finding alone, and all checks of a source of these texts. Documents
per second of the processor are what to compare where other work ran beside it.
"""

import argparse
import json
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from pydoc_data.topics import topics
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from datasets import TEXTS, machine
from results import record

HERE = Path(__file__).parent
PEER = HERE / ".env-peers" / "bin" / "python"
EDITS = (0.05, 0.30)
STEPS = (0.05, 0.10, 0.20, 0.30)

ALONE = """
import json, sys, time
import numpy as np
from karat.material.data.texts.likeness import Texts, near_groups, prints, shingles
texts = json.load(open(sys.argv[1], encoding="utf-8"))["texts"]
began, spent = time.perf_counter(), time.process_time()
found, sizes = [], []
for start in range(0, len(texts), 64):
    sets = [shingles(text) for text in texts[start:start + 64]]
    sizes += map(len, sets)
    found.append(prints(sets))
each = Texts(np.concatenate(found), np.array(sizes), lambda place: shingles(texts[place]))
*_, (_, groups) = near_groups(each, least=float(sys.argv[3]))
seconds, cpu = time.perf_counter() - began, time.process_time() - spent
json.dump({"alone": {"seconds": seconds, "CPU seconds": cpu, "groups": groups.tolist()}}, open(sys.argv[2], "w"))
"""

WHOLE = """
import json, resource, sys, time
from pathlib import Path
from karat.material.data.checks import Survey, surveyed
from karat.material.data.importing import import_source
from karat.material.data.policy import CheckPolicy
from karat.store.store import Store
texts = json.load(open(sys.argv[1], encoding="utf-8"))["texts"]
folder = Path(sys.argv[1]).parent / "texts"
folder.mkdir()
with (folder / "texts.jsonl").open("w", encoding="utf-8") as file:
    file.writelines(json.dumps({"text": text, "place": str(place)}) + chr(10) for place, text in enumerate(texts))
count = len(texts)
del texts
store = Store.open(folder.parent / "store")
*_, source = import_source(store, folder)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
began, spent = time.perf_counter(), time.process_time()
survey = Survey(CheckPolicy(near_overlap=float(sys.argv[3]), drop=()))
for _ in surveyed(store, [source.result], survey):
    pass
seconds, cpu = time.perf_counter() - began, time.process_time() - spent
places = [int(name.rpartition(":")[2]) - 1 for name in survey.names]
groups = [0] * count
for number, first in enumerate(survey.groups().tolist()):
    groups[places[number]] = places[first]
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
json.dump({"whole": {"seconds": seconds, "CPU seconds": cpu, "groups": groups, "peak_mb": peak}}, open(sys.argv[2], "w"))
"""


def main() -> None:
    """Plant, let each way find, and record what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--overlap", type=float, default=0.4)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    texts, copies = plant(asked.documents, np.random.default_rng(asked.seed))
    with TemporaryDirectory() as scratch:
        data, out = Path(scratch) / "documents.json", Path(scratch) / "out.json"
        data.write_text(json.dumps({"texts": texts}, ensure_ascii=False), encoding="utf-8")
        overlap = str(asked.overlap)
        ways = {"Karat, finding alone": ([sys.executable, "-c", ALONE, data, out, overlap], "alone")}
        ways["Karat, all checks of a source"] = ([sys.executable, "-c", WHOLE, data, out, overlap], "whole")
        peer = [PEER, HERE / "peers" / "datasketch_lsh.py", "--data", data, "--out", out, "--threshold", overlap]
        ways["datasketch MinHashLSH, as in its guide"] = (peer, "proposed")
        ways["datasketch MinHashLSH, then compared exactly"] = ([], "compared")
        for contender, (command, way) in ways.items():
            if command:
                subprocess.run([*map(str, command)], check=True)
            found = json.loads(out.read_text())[way]
            row = {"what": "near duplicates", "documents": len(texts), "planted": len(copies), "contender": contender}
            row |= {"data": f"{len(texts):,} documents", "scores": scores(found, copies), **machine()}
            record(HERE / "results" / "near-duplicates.json", row, key=("contender", "documents"))
            print(contender, row["scores"], flush=True)


def plant(count: int, draw: np.random.Generator) -> tuple[list[str], dict[int, tuple[int, float]]]:
    """Give documents in a random order, and for the place of each copy that of its original, and what share of it was edited."""
    pools = [pool for pool in (sentences(), poems()) if pool]
    originals = []
    for _ in range(count - count // 10):
        pool = pools[int(draw.random() < 0.2) if len(pools) > 1 else 0]
        chosen = draw.integers(0, len(pool), int(draw.integers(6, 17)))
        originals.append(" ".join(pool[each] for each in chosen))
    of = draw.permutation(len(originals))[: count // 10]
    shares = draw.uniform(*EDITS, len(of))
    texts = [*originals, *(edited(originals[each], share, draw) for each, share in zip(of, shares, strict=True))]
    order = draw.permutation(len(texts))
    now = np.argsort(order)
    copies = {int(now[len(originals) + n]): (int(now[each]), float(share)) for n, (each, share) in enumerate(zip(of, shares, strict=True))}
    return [texts[place] for place in order], copies


def sentences() -> list[str]:
    """Give real sentences of four to forty words, each once; a longer one would make most of whatever text it stands in."""
    texts = list(topics.values())
    if (TEXTS / "quotes.jsonl").exists():
        texts += [json.loads(line)["text"] for line in (TEXTS / "quotes.jsonl").read_text(encoding="utf-8").splitlines()]
    cut = (" ".join(part.split()) for text in texts for part in re.split(r"(?<=[.!?])\s|\n\s*\n", text))
    return sorted({part for part in cut if 4 <= len(part.split()) <= 40})


def poems() -> list[str]:
    """Give lines of poems, each once; none where they are not there."""
    if not (TEXTS / "tang300.jsonl").exists():
        return []
    rows = [json.loads(line)["text"] for line in (TEXTS / "tang300.jsonl").read_text(encoding="utf-8").splitlines()]
    return sorted({line for text in rows for line in text.splitlines() if len(line) > 8})


def edited(text: str, share: float, draw: np.random.Generator) -> str:
    """Replace, delete or double a share of the words of a text, or of the characters of one that has few spaces."""
    apart = " " if text.count(" ") > len(text) / 20 else ""
    words = text.split(" ") if apart else list(text)
    made = []
    for word in words:
        chance = draw.random() / share
        if chance >= 1:
            made.append(word)
        elif chance < 0.6:
            made.append(words[int(draw.integers(len(words)))])
        elif chance < 0.8:
            made += [word, word]
    return apart.join(made)


def scores(found: dict[str, Any], copies: dict[int, tuple[int, float]]) -> dict[str, float]:
    """Give speed, recall in all and by how much was edited, and precision."""
    groups = found["groups"]
    links = len(groups) - len(set(groups))
    right = {place: groups[place] == groups[original] for place, (original, _) in copies.items()}
    made = {"documents/s": len(groups) / found["seconds"], "documents/CPU s": len(groups) / found["CPU seconds"]}
    made |= {"seconds": found["seconds"], "recall": float(np.mean(list(right.values())))}
    for low, high in pairwise(STEPS):
        inside = [right[place] for place, (_, share) in copies.items() if low <= share < high]
        made[f"recall at {low:.0%} to {high:.0%} edited"] = float(np.mean(inside)) if inside else 0.0
    made["precision"] = min(1.0, sum(right.values()) / links) if links else 1.0
    return {**made, **({"peak_mb": found["peak_mb"]} if "peak_mb" in found else {})}


if __name__ == "__main__":
    main()
