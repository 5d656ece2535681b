"""Calibration: what each metric does when the truth is known, by corrupting real values in known ways.

A metric that does not move on a corruption cannot stand guard against it, so the table is published beside the metrics.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from karat.material.metrics.disturb import blurred, shifted
from karat.material.metrics.scores import Score

Labelled = tuple[Tensor, Tensor | None]


def corrupted(fresh: Labelled, trained: Labelled, *, seed: int) -> dict[str, Labelled]:
    """Give real values with their labels, and the same after each known corruption.

    `fresh` values are in neither the reference nor the training set; `trained` ones are training values, for the copies.
    """
    (real, labels), (training, training_labels) = fresh, trained
    generator = torch.Generator().manual_seed(seed)
    count = len(real)
    noise = torch.randn(real.shape, generator=generator)
    few = torch.randint(max(1, count // 10), (count,), generator=generator)
    sets = {
        "none": (real, labels),
        "noise 0.1": ((real + 0.1 * noise).clamp(-1, 1), labels),
        "noise 0.3": ((real + 0.3 * noise).clamp(-1, 1), labels),
        "blur": (blurred(real), labels),
        "shift one pixel": (shifted(real, 0, 1), labels),
        "contrast 0.7": (0.7 * real, labels),
        "a tenth, ten times": (real[few], None if labels is None else labels[few]),
        "half training": (torch.cat([real[: count // 2], training[: count - count // 2]]), _half(labels, training_labels)),
        "training copied": (training[:count], None if training_labels is None else training_labels[:count]),
    }
    if labels is not None:
        kept = labels != labels.mode().values
        sets["a class missing"] = (real[kept], labels[kept])
        sets["labels shuffled"] = (real, labels[torch.randperm(count, generator=generator)])
    return sets


def calibration_table(scored: Mapping[str, Sequence[Score]]) -> str:
    """Give a Markdown table of metrics against corruptions; bold where the value leaves the floor's interval for the worse."""
    corruptions = list(scored)
    names = [score.name for score in scored[corruptions[0]]]
    lines = ["| metric | floor | " + " | ".join(corruptions) + " |", "|---|" + "---|" * (len(corruptions) + 1)]
    for name in names:
        row = [next((score for score in scored[corruption] if score.name == name), None) for corruption in corruptions]
        floor = row[0].floor if row[0] is not None else None
        cells = [_cell(score) if score is not None else "" for score in row]
        lines.append(f"| {name} | {f'{floor.low:.3g} to {floor.high:.3g}' if floor else ''} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def moved(score: Score) -> bool:
    """Say whether a score is worse than its floor, beyond both intervals' noise."""
    if score.floor is None:
        return False
    return score.value < score.floor.low if score.higher_is_better else score.value > score.floor.high


def _cell(score: Score) -> str:
    text = f"{score.value:.3g}"
    return f"**{text}**" if moved(score) else text


def _half(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    if first is None or second is None:
        return None
    return torch.cat([first[: len(first) // 2], second[: len(first) - len(first) // 2]])
