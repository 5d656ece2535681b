"""Learning from verdicts: losses in the place of a family's own, over any family that says what each id costs.

Pairs: DPO (Rafailov et al. 2023, arXiv 2305.18290), with a share of verdicts that are taken to be wrong (Mitchell 2023, "conservative DPO")
and the likelihood of the chosen answer added (Pang et al. 2024, arXiv 2404.19733). Thumbs: KTO (Ethayarajh et al. 2024, arXiv 2402.01306),
with the same added. Both hold a model against a reference, the weights that it starts from, whose log-probabilities come with the rows.

Rows hold two answers side by side, (B, 2, N) ids, of which `Given.weight` says what is answer: of pairs the chosen and the rejected one, of
thumbs the judged one and another prompt's answer to the same prompt, by which KTO tells how far the model has moved at all.
"""

import math
from typing import Annotated, ClassVar, Literal, Protocol

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from karat.learning.families.family import Loss
from karat.values.given import Given
from karat.words.specs import Spec


class DpoOptions(Spec):
    """How pairs are learnt from."""

    kind: Literal["dpo"] = "dpo"
    beta: float = Field(0.1, gt=0, description="how dear it is to move away from the start")
    doubt: float = Field(0.1, ge=0, lt=0.5, description="share of verdicts that are taken to be wrong")
    likelihood: float = Field(1.0, ge=0, description="weight of the chosen answers' own likelihood, in nats for each id")


class KtoOptions(Spec):
    """How thumbs are learnt from."""

    kind: Literal["kto"] = "kto"
    beta: float = Field(0.1, gt=0, description="how dear it is to move away from the start")
    likelihood: float = Field(1.0, ge=0, description="weight of the liked answers' own likelihood, in nats for each id")


class RftOptions(Spec):
    """How a model learns from the best of its own answers, mixed with the data that the start learnt from."""

    kind: Literal["rft"] = "rft"
    reward: str | None = Field(None, description="the record of the reward that chooses; left open: one fitted to the snapshot's verdicts")
    prompts: int = Field(512, ge=1, description="most prompts that are answered")
    tries: int = Field(8, ge=2, le=64, description="answers to each, of which one is kept")
    original: float = Field(0.5, ge=0, lt=1, description="share of rows from the data that the start learnt from")


Lessons = Annotated[DpoOptions | KtoOptions | RftOptions, Field(discriminator="kind")]
"""The ways of learning from verdicts."""

REFERENCE, WORTH = "reference", "worth"
"""What is given with a row: the start's log-probabilities of both answers, (B, 2); how much it counts, below 0 for a thumb down, (B,)."""


class Foretelling(Protocol):
    """A family that says what each id costs."""

    def errors(self, x: Tensor, given: Given) -> Tensor:
        """Give the nats (B, N) that each id of some rows costs."""
        ...


def log_chances(family: Foretelling, x_BAN: Tensor, weight_BAN: Tensor) -> Tensor:
    """Give the log-probability (B, A) of each answer. Columns behind the last answer are not computed."""
    longest = int(weight_BAN.flatten(0, 1).any(0).nonzero().max()) + 1
    x, weight = x_BAN[..., :longest].flatten(0, 1), weight_BAN[..., :longest].flatten(0, 1)
    return -(family.errors(x, Given(weight=weight)) * weight).sum(1).view(x_BAN.shape[:2])


def _total(found: dict[str, Tensor], likelihood: float) -> Loss:
    total = found["preference"].mean() + likelihood * found["likelihood"].mean()
    return Loss(total, {"loss": total.detach(), **{name: each.detach().mean() for name, each in found.items()}})


class Contrast:
    """DPO: the chosen answer is to become likelier than the rejected one, more so than it was at the start."""

    chosen_by: ClassVar[str | None] = "preference"

    def __init__(self, family: Foretelling, options: DpoOptions) -> None:
        self.family, self.options = family, options

    def loss(self, turn: str, x: Tensor, given: Given, generator: torch.Generator) -> Loss:
        return _total(self.held_out(x, given, generator), self.options.likelihood)

    def held_out(self, x: Tensor, given: Given, generator: torch.Generator) -> dict[str, Tensor]:
        """Give the loss of each pair beside the start's, whether its verdict is agreed with, and the nats of a chosen id."""
        assert given.weight is not None, "answers are marked by their weight"
        log_B2 = log_chances(self.family, x, given.weight)
        moved_B2 = log_B2 - given.values[REFERENCE]
        lead_B = self.options.beta * (moved_B2[:, 0] - moved_B2[:, 1])
        doubt = self.options.doubt
        preference_B = -(1 - doubt) * F.logsigmoid(lead_B) - doubt * F.logsigmoid(-lead_B) - math.log(2)
        agrees_B = (lead_B > 0).float() + 0.5 * (lead_B == 0).float()
        return {"preference": preference_B, "agrees": agrees_B, "likelihood": -log_B2[:, 0] / given.weight[:, 0].sum(1).clamp(min=1)}


class Prospect:
    """KTO: liked answers are to become likelier than they were at the start, disliked ones less likely, beside how far all have moved."""

    chosen_by: ClassVar[str | None] = "preference"

    def __init__(self, family: Foretelling, options: KtoOptions) -> None:
        self.family, self.options = family, options

    def loss(self, turn: str, x: Tensor, given: Given, generator: torch.Generator) -> Loss:
        return _total(self.held_out(x, given, generator), self.options.likelihood)

    def held_out(self, x: Tensor, given: Given, generator: torch.Generator) -> dict[str, Tensor]:
        """Give the loss of each thumb beside the start's, whether it is agreed with, and the nats of a liked id."""
        assert given.weight is not None, "answers are marked by their weight"
        worth_B = given.values[WORTH]
        log_B2 = log_chances(self.family, x, given.weight)
        moved_B2 = log_B2 - given.values[REFERENCE]
        lead_B = self.options.beta * (moved_B2[:, 0] - moved_B2[:, 1].detach().mean().clamp(min=0)) * worth_B.sign()
        agrees_B = (lead_B > 0).float() + 0.5 * (lead_B == 0).float()
        preference_B = worth_B.abs() * (torch.sigmoid(-lead_B) - 0.5)
        likelihood_B = -log_B2[:, 0] / given.weight[:, 0].sum(1).clamp(min=1) * worth_B.clamp(min=0)
        return {"preference": preference_B, "agrees": agrees_B, "likelihood": likelihood_B}
