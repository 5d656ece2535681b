"""CTranslate2 as an engine: rewritten from a release once, then kept beside the store's other files.

It writes with the likeliest id only: its draws come from a stream of its own, which could not be repeated sample by sample.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from karat.values.codecs.text import END
from karat.work.export.language import LanguageModel, Precision


class CTranslateEngine:
    """A folder that was exported to CTranslate2."""

    draws = False

    def __init__(self, folder: Path, language: LanguageModel, precision: Precision, *, threads: int) -> None:
        import ctranslate2

        self.name, self.precision = self.named(precision), precision
        self._generator: Any = ctranslate2.Generator(str(folder), compute_type=precision, intra_threads=threads)
        self._tokens = language.tokens
        self._ends = [self._tokens[id] for id in language.ends]

    @staticmethod
    def named(precision: Precision) -> str:
        return f"ctranslate2 {precision}"

    def write(self, prompts: Sequence[Sequence[int]], most: int) -> list[list[int]]:
        # In a batch where one prompt is only the start, CTranslate2 puts the others' prompts before what it writes.
        empty = [place for place, prompt in enumerate(prompts) if not prompt]
        full = [place for place, prompt in enumerate(prompts) if prompt]
        written: list[list[int]] = [[] for _ in prompts]
        for places in (empty, full):
            if places:
                starts = [self._named(prompts[place]) for place in places]
                results = self._generator.generate_batch(
                    starts, max_length=most, include_prompt_in_result=False, end_token=self._ends, beam_size=1
                )
                for place, result in zip(places, results, strict=True):
                    written[place] = list(result.sequences_ids[0])
        return written

    def nats(self, rows: Sequence[Sequence[int]]) -> list[np.ndarray]:
        scored = self._generator.score_batch([self._named(row) for row in rows], max_input_length=0, max_batch_size=16)
        return [-np.array(each.log_probs) for each in scored]

    def _named(self, ids: Sequence[int]) -> list[str]:
        return [END, *(self._tokens[id] for id in ids)]
