"""Which texts are alike: groups of near duplicates. MinHash proposes pairs (Broder 1997, https://doi.org/10.1109/SEQUEN.1997.666900), the
overlap of their shingles (Jaccard) decides.

A shingle is two words in a row, or three characters where a script writes no spaces. A print of a text is the 256 least values of its
shingles under as many permutations, which `rensa` computes, to 16 bits each (Li and König 2010, https://arxiv.org/abs/0910.3349); two texts
are compared where all four of these agree in one of 64 bands.

How much must agree depends on how much there is to read: the policy's share from 64 shingles on, nearly all at eight, because "I like
red" and "I like blue" are no near duplicates. Likeness is joined in chains, so a group that is a crowd is searched again more strictly.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from karat.material.data.groups import Groups, alone, join_pairs
from karat.material.data.likeness import crowd_of
from karat.words.errors import SpecError

PERMUTATIONS = 256
ROWS = 4
BANDS = PERMUTATIONS // ROWS
SEED = 20_260
NEIGHBOURS = 8
"""How many of those that agree with it in a band a text is compared to, at most: the next ones in the order of the texts."""
MOST = 1 << 15
"""How many shingles of a text are kept, those of the least hashes: a fair sample of a long text, all of any other."""
FULL, TINY, STRICT = 64, 8, 0.9
CROWD_STEP = 0.15
PIECE = 1 << 18
SLACK = 0.1
"""How much further apart than they may be two prints may lie before the texts themselves are compared: three deviations of the estimate."""

Shingles = NDArray[np.uint64]
Prints = NDArray[np.uint16]

UNSPACED = (
    (0x0E00, 0x0EFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x3040, 0x30FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x323AF),
)
"""Scripts that write no spaces: Thai and Lao, Burmese, Khmer, kana, Han. Hangul, which has spaces, is all words."""
LETTER, ALONE = 1, 2
ODD, MIX, FOLD = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def shingles(text: str) -> Shingles:
    """Give the hashes of a text's shingles, each once, in rising order; case, punctuation and spaces make no difference."""
    kept = np.empty(0, np.uint64)
    for start in range(0, len(text), PIECE):
        kept = np.unique(np.concatenate([kept, _of_piece(text[start : start + PIECE])]))[:MOST]
    return kept


def overlap(one: Shingles, other: Shingles) -> float:
    """Give the Jaccard overlap of two sets of shingles: exact where both are whole, else estimated from the least of both."""
    both = np.union1d(one, other)[:MOST]
    if not len(both):
        return 0.0
    shared = np.isin(both, one, assume_unique=True) & np.isin(both, other, assume_unique=True)
    return float(shared.mean())


def prints(sets: Sequence[Shingles]) -> Prints:
    """Give the print of each set of shingles, (n, PERMUTATIONS). Raises SpecError where rensa is not installed."""
    try:
        from rensa import RMinHash
    except ImportError:
        repair = "Install it, pip install 'karat[text]', or look for none: --set near_overlap=0."
        raise SpecError("Finding near duplicates of texts needs rensa.", repair=repair) from None
    ends = np.cumsum([0, *map(len, sets)]).astype(np.uint64)
    whole = np.concatenate([*sets, np.empty(0, np.uint64)])
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(whole, ends, PERMUTATIONS, SEED)
    return np.array(matrix.to_rows(), np.uint32).astype(np.uint16).reshape(len(sets), PERMUTATIONS)


class Texts(NamedTuple):
    """What near duplicates are found by: the prints of texts, their numbers of shingles, and how to read the shingles of one of them."""

    prints: Prints
    sizes: NDArray[np.int64]
    read: Callable[[int], Shingles]


def near_groups(texts: Texts, *, least: float) -> Iterator[tuple[int, Groups]]:
    """Give, as the search goes on, how many texts' worth of it is done and the groups so far: for each text the first one of its group.

    `least` is the overlap that makes two texts near duplicates, 0 for finding none.
    """
    groups = alone(len(texts.sizes))
    if least > 0 and len(groups) > 1:
        for share in _join(texts, groups.copy(), groups=groups, least=least):
            yield int(share * len(groups)), groups
        _disperse(texts, groups=groups, least=least + CROWD_STEP)
    yield len(groups), groups


def needed(sizes: NDArray[np.int64], least: float) -> NDArray[np.float64]:
    """Give the overlap that texts of so many shingles need to be near duplicates."""
    lack = 1 - np.log2(np.clip(sizes, TINY, FULL) / TINY) / np.log2(FULL / TINY)
    return least + (max(least, STRICT) - least) * lack


def _join(texts: Texts, members: NDArray[np.intp], *, groups: Groups, least: float) -> Iterator[float]:
    """Join the groups of all pairs of members that are alike, in place, band by band; give the share of the bands that is done."""
    found, sizes, _ = texts
    told = members[sizes[members] > 0]
    seen: set[tuple[int, int]] = set()
    for band in range(BANDS):
        keys = np.ascontiguousarray(found[told, band * ROWS : (band + 1) * ROWS]).view(np.uint64)[:, 0]
        order = np.argsort(keys, kind="stable")
        for step in range(1, min(NEIGHBOURS, len(order) - 1) + 1):
            same = np.flatnonzero(keys[order[step:]] == keys[order[:-step]])
            one, other = told[order[same]], told[order[same + step]]
            apart = groups[one] != groups[other]
            pairs = [pair for pair in zip(one[apart].tolist(), other[apart].tolist(), strict=True) if pair not in seen]
            seen.update(pairs)
            if alike := [pair for pair in pairs if _alike(texts, *pair, least=least)]:
                groups[:] = join_pairs(groups, alike)
        yield (band + 1) / BANDS


def _alike(texts: Texts, one: int, other: int, *, least: float) -> bool:
    """Say whether two texts are near duplicates: by their prints first, then by reading them again."""
    limit = float(needed(texts.sizes[[one, other]], least).max())
    if (texts.prints[one] == texts.prints[other]).mean() < limit - SLACK:
        return False
    return overlap(texts.read(one), texts.read(other)) >= limit


def _disperse(texts: Texts, *, groups: Groups, least: float) -> None:
    """Search each group that is a crowd again with a larger overlap, in place, up to that of copies."""
    crowd = crowd_of(len(groups))
    names, counts = np.unique(groups, return_counts=True)
    crowds = [np.flatnonzero(groups == name) for name in names[counts > crowd]]
    while crowds and least < 1:
        further = []
        for members in crowds:
            groups[members] = members
            for _ in _join(texts, members, groups=groups, least=least):
                pass
            names, counts = np.unique(groups[members], return_counts=True)
            further += [members[groups[members] == name] for name in names[counts > crowd]]
        crowds, least = further, least + CROWD_STEP


def _of_piece(text: str) -> Shingles:
    """Hash the shingles of a piece of text: each token by a polynomial of its characters, modulo 2^64, then tokens in a row."""
    folded = text.casefold()
    codes = np.frombuffer(folded.encode("utf-32-le"), np.uint32)
    kinds = np.zeros(len(codes) + 2, np.uint8)
    kinds[1:-1] = _kinds()[np.minimum(codes, UNSPACED[-1][1] + 1)]
    before, here, after = kinds[:-2], kinds[1:-1], kinds[2:]
    firsts = np.flatnonzero((here == ALONE) | ((here == LETTER) & (before != LETTER)))
    ends = np.flatnonzero((here == ALONE) | ((here == LETTER) & (after != LETTER))) + 1
    if not len(firsts):
        return np.empty(0, np.uint64)
    powers, inverses = _powers(len(codes).bit_length())
    sums = np.zeros(len(codes) + 1, np.uint64)
    np.cumsum(codes * powers[: len(codes)], out=sums[1:])
    tokens = _mixed((sums[ends] - sums[firsts]) * inverses[firsts])
    length = min(len(tokens), 3 if 2 * np.count_nonzero(here == ALONE) > len(tokens) else 2)
    rows = np.zeros(len(tokens) - length + 1, np.uint64)
    for place in range(length):
        rows = _mixed(rows + tokens[place : place + len(rows)])
    return rows


@cache
def _kinds() -> NDArray[np.uint8]:
    """Say of each character whether it is a letter or digit of a word, stands alone, or is neither."""
    kinds = np.fromiter((chr(code).isalnum() for code in range(UNSPACED[-1][1] + 2)), np.uint8)
    for first, last in UNSPACED:
        kinds[first : last + 1] = ALONE
    kinds[-1] = 0
    return kinds


@cache
def _powers(bits: int) -> tuple[Shingles, Shingles]:
    """Give the powers of ODD modulo 2^64 and their inverses, 2^bits of each."""
    inverse = np.uint64(pow(int(ODD), -1, 1 << 64))
    return np.cumprod(np.full(1 << bits, ODD), dtype=np.uint64), np.cumprod(np.full(1 << bits, inverse), dtype=np.uint64)


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spread the bits of 64-bit values, as the finaliser of SplitMix64 does."""
    values = (values ^ (values >> np.uint64(30))) * MIX
    values = (values ^ (values >> np.uint64(27))) * FOLD
    return values ^ (values >> np.uint64(31))
