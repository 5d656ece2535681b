"""Own features of texts: hashed runs of characters, weighted (TF-IDF) and squeezed (latent semantic analysis, Deerwester et al. 1990).

Fitted on the judge split, which neither the model nor the reference sees; no network is downloaded and any script is read.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from karat.material.metrics.features import digest_of_tensors
from karat.material.metrics.scores import Side
from karat.material.metrics.texts.ngrams import NgramModel
from karat.material.metrics.texts.units import IS_WIDE, mixed, units
from karat.values.passages import Passage
from karat.words.errors import DataError

WIDTH = 48
FEWEST = 8
"""Texts without which directions mean nothing."""
HASHED = 2**15
LONGEST = 4
"""Characters in a hashed run, at most."""


class TextFeatures:
    """Maps texts to features (N, D); equal digests mean equal features."""

    name = "characters"

    def __init__(self, texts: Sequence[str], *, seed: int = 0) -> None:
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

        if len(texts) < FEWEST:
            problem = f"The judge split holds {len(texts)} texts; features need at least {FEWEST}."
            raise DataError(problem, repair="Give the split a larger share.")
        self._ngrams = NgramModel.fit(Passage(text=text) for text in texts)
        self._hashed = HashingVectorizer(analyzer="char", ngram_range=(1, LONGEST), n_features=HASHED, alternate_sign=False, norm=None)
        self._weighted = TfidfTransformer(sublinear_tf=True)
        weighted = self._weighted.fit_transform(self._hashed.transform(texts))
        self._squeezed = TruncatedSVD(min(WIDTH, len(texts) - 1), random_state=seed).fit(weighted)

    @property
    def width(self) -> int:
        return len(self._squeezed.components_)

    @property
    def digest(self) -> str:
        found = {"weights": self._weighted.idf_, "directions": self._squeezed.components_}
        return digest_of_tensors({name: torch.from_numpy(array) for name, array in found.items()})

    def features(self, texts: Sequence[str]) -> Tensor:
        """Give unit-length features (N, D); a text of nothing gets zeros."""
        found = self._squeezed.transform(self._weighted.transform(self._hashed.transform(texts)))
        return torch.nn.functional.normalize(torch.from_numpy(found).float(), dim=1)

    def side(self, texts: Sequence[str], references: Sequence[str] = ()) -> Side:
        """Give texts as a side of a comparison."""
        plain = torch.tensor([[*plain_facts(text), *self._order(text)] for text in texts]).float()
        return Side(self.features(texts), plain, texts=tuple(texts), references=tuple(references))

    def _order(self, text: str) -> tuple[float, float]:
        """Give what a byte costs by runs of bytes, and how much more with the words in another order: runs of characters do not see it."""
        cost, otherwise = (float(self._ngrams.nats(Passage(text=each)).mean()) for each in (text, mixed(text)))
        return cost, otherwise - cost


def plain_facts(text: str) -> list[float]:
    """Give what can be counted of a text at a glance: its length, and shares of kinds of characters."""
    said, size = units(text), max(1, len(text))
    kinds = (str.isupper, str.isdigit, str.isspace, str.isalpha)
    shares = [sum(map(kind, text)) / size for kind in kinds]
    lengths = [math.log1p(len(text)), len(text) / max(1, len(said)), text.count("\n") / size]
    return [*lengths, *shares, len(IS_WIDE.findall(text)) / size, len(set(said)) / max(1, len(said))]
