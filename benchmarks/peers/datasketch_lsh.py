"""Near duplicates by datasketch: MinHashLSH over word pairs, as its guide has it, and the same with its candidates compared exactly.

    python datasketch_lsh.py --data documents.json --out groups.json --threshold 0.4

Reads {"texts": [...]}; writes for both ways the seconds and, for each text, the first text of its group.
"""

import argparse
import json
import re
import time
from pathlib import Path

from datasketch import MinHash, MinHashLSH

TOKENS = re.compile(r"[\u3400-\u9fff]|[^\W_]+")
BATCH = 1000


def main() -> None:
    """Find the groups, and say how long it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threshold", type=float, default=0.4)
    parser.add_argument("--permutations", type=int, default=128)
    asked = parser.parse_args()
    texts = json.loads(asked.data.read_text(encoding="utf-8"))["texts"]
    began, spent = time.perf_counter(), time.process_time()
    sets = [shingles(text) for text in texts]
    lsh = MinHashLSH(threshold=asked.threshold, num_perm=asked.permutations)
    pairs = []
    for start in range(0, len(sets), BATCH):
        for place, print_ in enumerate(MinHash.bulk(sets[start : start + BATCH], num_perm=asked.permutations), start):
            pairs += [(other, place) for other in lsh.query(print_)]
            lsh.insert(place, print_)
    proposed = {"seconds": time.perf_counter() - began, "CPU seconds": time.process_time() - spent}
    alike = [(one, other) for one, other in pairs if len(sets[one] & sets[other]) >= asked.threshold * len(sets[one] | sets[other])]
    compared = {"seconds": time.perf_counter() - began, "CPU seconds": time.process_time() - spent}
    ways = {
        "proposed": {**proposed, "groups": joined(len(sets), pairs)},
        "compared": {**compared, "groups": joined(len(sets), alike)},
    }
    asked.out.write_text(json.dumps({**ways, "pairs": len(pairs)}))


def shingles(text: str) -> set[bytes]:
    """Give pairs of words in a row, or of three characters where most are Chinese."""
    tokens = TOKENS.findall(text.casefold())
    length = 3 if 2 * sum(len(token) == 1 and token > "\u3400" for token in tokens) > len(tokens) else 2
    return {" ".join(tokens[place : place + length]).encode() for place in range(max(1, len(tokens) - length + 1))}


def joined(count: int, pairs: list[tuple[int, int]]) -> list[int]:
    """Give for each text the first text of its group."""
    parents = list(range(count))

    def first(place: int) -> int:
        while parents[place] != place:
            parents[place] = parents[parents[place]]
            place = parents[place]
        return place

    for one, other in pairs:
        low, high = sorted((first(one), first(other)))
        parents[high] = low
    return [first(place) for place in range(count)]


if __name__ == "__main__":
    main()
