"""The judge: a small convnet trained on a split of its own, in whose features made and real values are compared.

With labels it learns the classes. Without, each picture is a class of its own that must be recognised under strong augmentation
(Dosovitskiy et al. 2014, https://arxiv.org/abs/1406.6909). It is trained with noise, blur, shift and brightness, or it would separate
pictures that it has seen from pictures that it has not, and a model's from both.
"""

import math
from collections.abc import Generator, Iterator, Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from karat.material.metrics.disturb import Disturbance, disturbed
from karat.material.metrics.features import BLOCK, bounded, digest_of_tensors
from karat.words.errors import DataError
from karat.words.events import Event, Progress, Started
from karat.words.specs import Spec

MULTIPLICATIONS = 3e11
"""What twenty to forty seconds on one CPU thread allow; it sets the steps, so that the same data give the same judge anywhere."""


class JudgeOptions(Spec):
    """How the judge is trained; `steps` None sets them by the size of the pictures."""

    width: int = 64
    steps: int | None = None
    batch: int = 64
    rate: float = 3e-3
    seed: int = 0
    flips: bool = False
    exemplars: int = 2048


class JudgeNet(nn.Module):
    """Strided convolutions down to a 4 x 4 grid, one hidden layer of features, one layer of answers."""

    def __init__(self, shape: tuple[int, int, int], width: int, answers: int) -> None:
        super().__init__()
        height, wide, channels = shape
        layers: list[nn.Module] = []
        before, now = channels, 24
        while True:
            stride = 2 if max(height, wide) > 4 else 1
            layers += [nn.Conv2d(before, now, 3, stride=stride, padding=1), nn.GroupNorm(8, now), nn.SiLU()]
            height, wide = math.ceil(height / stride), math.ceil(wide / stride)
            before, now = now, min(96, now * 2)
            if stride == 1:
                break
        self.trunk = nn.Sequential(*layers)
        self.hidden = nn.Linear(before * height * wide, width)
        self.answers = nn.Linear(width, answers)

    def features(self, x_BHWC: Tensor) -> Tensor:
        return self.hidden(self.trunk(x_BHWC.movedim(-1, 1)).flatten(1))

    def forward(self, x_BHWC: Tensor) -> Tensor:
        return self.answers(F.silu(self.features(x_BHWC)))


class Judge:
    """A trained judge: features for every metric, and class probabilities where the data have classes."""

    name = "judge"

    def __init__(self, net: JudgeNet, facts: Mapping[str, object]) -> None:
        self.net = net.eval().requires_grad_(False)
        self.facts = dict(facts)
        self.mean_D = torch.zeros(net.hidden.out_features)
        self.spread_D = torch.ones(net.hidden.out_features)

    @property
    def digest(self) -> str:
        return digest_of_tensors(self.tensors())

    @property
    def knows_classes(self) -> bool:
        return self.facts["learned"] == "classes"

    def features(self, values: Tensor) -> Tensor:
        with torch.no_grad():
            found_ND = torch.cat([self.net.features(bounded(block)) for block in values.split(BLOCK)])
        return (found_ND - self.mean_D) / self.spread_D

    def probabilities(self, values: Tensor) -> Tensor | None:
        """Give class probabilities (N, classes), or None where the judge has learned no classes."""
        if not self.knows_classes:
            return None
        with torch.no_grad():
            return torch.cat([self.net(bounded(block)).softmax(1) for block in values.split(BLOCK)])

    def tensors(self) -> dict[str, Tensor]:
        """Give all that `load` needs beside `facts`, for a safetensors file."""
        return {**{f"net.{key}": value for key, value in self.net.state_dict().items()}, "mean": self.mean_D, "spread": self.spread_D}

    @classmethod
    def load(cls, tensors: Mapping[str, Tensor], facts: Mapping[str, object]) -> "Judge":
        """Build the judge that `tensors` and `facts` describe."""
        shape, answers = facts["shape"], facts["answers"]
        assert isinstance(shape, list)
        assert isinstance(answers, int)
        net = JudgeNet((shape[0], shape[1], shape[2]), len(tensors["mean"]), answers)
        net.load_state_dict({key.removeprefix("net."): value for key, value in tensors.items() if key.startswith("net.")})
        judge = cls(net, facts)
        judge.mean_D, judge.spread_D = tensors["mean"], tensors["spread"]
        return judge


def train_judge(values: Tensor, labels: Tensor | None, options: JudgeOptions, *, classes: int = 0) -> Generator[Event, None, Judge]:
    """Train a judge: yields progress and returns the judge. Raises DataError when there is nothing to learn from."""
    if len(values) < 8:
        raise DataError(
            f"The judge split holds {len(values)} values; the judge needs at least 8.", repair="Give the judge split a larger share."
        )
    generator = torch.Generator().manual_seed(options.seed)
    x_NHWC = bounded(values)
    learned: Literal["classes", "exemplars"] = "classes"
    if labels is None or classes < 2:
        learned = "exemplars"
        x_NHWC = x_NHWC[torch.randperm(len(x_NHWC), generator=generator)[: options.exemplars]]
        labels, classes = torch.arange(len(x_NHWC)), len(x_NHWC)
    shape = (x_NHWC.shape[1], x_NHWC.shape[2], x_NHWC.shape[3])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        net = JudgeNet(shape, options.width, classes)
    steps = options.steps or _steps(net, shape, options.batch)
    yield from _fit(net, x_NHWC, labels, options, _Course(steps, learned, generator))
    facts = {"learned": learned, "shape": list(shape), "answers": classes, "steps": steps, "values": len(x_NHWC), **options.model_dump()}
    judge = Judge(net, facts)
    # The scale comes from slightly disturbed pictures: on those it was trained on, the features are more extreme than on any others.
    mild = Disturbance(shift=0.05, zoom=0.05, noise=0.05)
    found_ND = torch.cat([judge.features(disturbed(x_NHWC, mild, generator)) for _ in range(4)])
    judge.mean_D, judge.spread_D = found_ND.mean(0), found_ND.std(0).clamp(min=1e-3)
    return judge


class _Course:
    """How long to train, on which augmentation, with which random numbers."""

    def __init__(self, steps: int, learned: Literal["classes", "exemplars"], generator: torch.Generator) -> None:
        self.steps = steps
        self.generator = generator
        mild = Disturbance(shift=0.1, zoom=0.1, noise=0.25, blur=0.5, brightness=0.2, contrast=0.2)
        strong = Disturbance(shift=0.15, zoom=0.25, turn=15, noise=0.25, blur=0.5, brightness=0.25, contrast=0.3, tint=0.15)
        self.disturbance = mild if learned == "classes" else strong


def _fit(net: JudgeNet, x_NHWC: Tensor, labels_N: Tensor, options: JudgeOptions, course: _Course) -> Iterator[Event]:
    optimizer = torch.optim.AdamW(net.parameters(), lr=options.rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, options.rate, total_steps=course.steps, pct_start=0.1)
    disturbance = course.disturbance.changed(flips=options.flips)
    yield Started(what="training the judge, which learns to compare made with real pictures", total=course.steps, unit="steps")
    for step in range(course.steps):
        rows_B = torch.randint(len(x_NHWC), (options.batch,), generator=course.generator)
        x_BHWC = disturbed(x_NHWC[rows_B], disturbance, course.generator)
        loss = F.cross_entropy(net(x_BHWC), labels_N[rows_B], label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if (step + 1) % 50 == 0 or step + 1 == course.steps:
            yield Progress(done=step + 1, total=course.steps, figures={"judge_loss": float(loss.detach())})


def _steps(net: JudgeNet, shape: tuple[int, int, int], batch: int) -> int:
    """Give the steps whose multiplications fit the budget: many for small pictures, at least 200."""
    height, wide, _ = shape
    work = 0
    for layer in net.trunk:
        if isinstance(layer, nn.Conv2d):
            height, wide = math.ceil(height / layer.stride[0]), math.ceil(wide / layer.stride[1])
            work += layer.weight.numel() * height * wide
    work += net.hidden.weight.numel() + net.answers.weight.numel()
    return max(200, min(1500, int(MULTIPLICATIONS / (3 * work * batch))))
