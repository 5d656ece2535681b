"""The plan of a training: how long, how fast, how careful. And the whole spec of a run."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from karat.learning.families.preferences import Lessons
from karat.learning.models import ModelSpec
from karat.values.augment import AugmentSpec
from karat.words.specs import Spec, Where


class TrainingPlan(Spec):
    """One training. Exactly one of `steps` and `minutes` is the budget; a finished run's plan always says the steps."""

    steps: int | None = Field(None, ge=1)
    minutes: float | None = Field(None, gt=0)
    passes: float | None = Field(None, gt=0, description="how many times a budget in minutes goes through the data at most")
    batch: int = Field(64, ge=1)
    accumulate: int = Field(1, ge=1, description="pieces into which each batch is cut, to save memory")
    lanes: int = Field(1, ge=1, description="pieces of each batch learnt from side by side, on the CPU each in a thread of its own")
    optimizer: str = "adamw"
    rate: float = Field(2e-3, gt=0, description="learning rate at its highest")
    warmup: int = Field(50, ge=0, description="steps over which the rate rises")
    decay: float = Field(0.6, ge=0, le=1, description="last part of the budget over which the rate falls to nothing")
    weight_decay: float = Field(0.01, ge=0, description="with AdamW and Muon: what a step takes off each weight, as a share of the rate")
    table_rate: float = Field(1.0, gt=0, description="with Muon: how many times faster tables of ids learn")
    clip: float = Field(1.0, gt=0, description="longest gradient")
    average: float = Field(0.999, ge=0, lt=1, description="memory of the moving average of the weights, that samples are made with")
    bf16: bool = False
    seed: int = 0
    checks: int = Field(10, ge=0, description="how many times the held-out data is looked at")
    judged: int = Field(3, ge=0, description="how many of the last checks also score generated samples and stand for choice")
    samples: int = Field(192, ge=2, description="how many samples each of those makes")
    keep: int = Where(2, ge=1, description="checkpoints kept")
    save_minutes: float = Where(2.0, gt=0)
    device: str = Where("auto")
    threads: int | None = Where(None, ge=1)

    @model_validator(mode="after")
    def _one_budget(self) -> Self:
        if (self.steps is None) == (self.minutes is None):
            raise ValueError("give either steps or minutes")
        return self


class FittedCodec(Spec):
    """A codec with what it learnt from the data."""

    kind: str
    state: dict[str, Any]


class RunSpec(Spec):
    """The whole of what was asked of a run: the data, its codecs, the model, the plan."""

    version: Literal[1] = 1
    snapshot: str
    made: FittedCodec
    given: dict[str, FittedCodec] = {}
    base: str | None = Field(None, description="the record of the pretrained model that the run goes on from")
    start: str | None = Field(None, description="the record of the run or release whose weights the run goes on from")
    learn: Lessons | None = Field(None, description="how verdicts are learnt from; left open: the data itself is learnt")
    model: ModelSpec
    augment: AugmentSpec = AugmentSpec()
    plan: TrainingPlan
