"""Filling gaps: what is kept stays, what is said of nats is a bound of what the model really gives."""

from itertools import permutations, product
from math import exp, log

import pytest
import torch
from tiny import SPACES, TRANSFORMER, awaken, given_of, model_of
from torch import Tensor

from karat.learning.families.masked import Masked, MaskedOptions, MaskedSampling
from karat.learning.models import Model
from karat.values.codecs.label import LabelCodec
from karat.values.given import Given
from karat.values.spaces import Space
from karat.work.generation import all_values
from karat.work.optimizers import optimizers

LETTERS = Space(axes=("token",), shape=(3,), vocab=3)
WHOLES = torch.tensor(list(product(range(3), repeat=3)))
SEEDS = [(5, index) for index in range(6)]


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def masked(space: Space = LETTERS) -> Model:
    return awaken(model_of("masked/transformer", space), 3)


def costs(family: Masked, x: Tensor, known: set[int]) -> Tensor:
    """Give the nats (B, N) of each id of `x` when only the positions `known` are seen."""
    seen = torch.tensor([position in known for position in range(x.shape[1])])
    logits = family.net(torch.where(seen, x, family.net.gap), Given())
    return -logits.log_softmax(-1).gather(-1, x[..., None])[..., 0]


def paths(family: Masked, blocks: tuple[int, ...]) -> Tensor:
    """Give the nats (orders, 27) of each whole by each order of positions, filled in blocks of some sizes."""
    found = []
    for order in permutations(range(3)):
        known: set[int] = set()
        total = torch.zeros(len(WHOLES))
        rest = list(order)
        for size in blocks:
            block, rest = rest[:size], rest[size:]
            total = total + costs(family, WHOLES, known)[:, block].sum(1)
            known |= set(block)
        found.append(total)
    return torch.stack(found)


@pytest.mark.parametrize(("steps", "blocks"), [(None, (1, 1, 1)), (2, (2, 1)), (1, (3,))])
@torch.no_grad()
def test_the_bound_is_no_less_than_the_nats_of_what_the_model_makes(steps: int | None, blocks: tuple[int, ...]) -> None:
    """By counting all orders: the chances of all wholes add up to 1, and the bound is the mean over orders of what each costs."""
    family = masked().family
    assert isinstance(family, Masked)
    nats = paths(family, blocks)
    exact = -(torch.logsumexp(-nats, 0) - log(len(nats)))
    assert exp(-exact[0]) > 0
    assert torch.allclose((-exact).exp().sum(), torch.tensor(1.0), atol=1e-5)
    mean = nats.mean(0)
    assert bool((mean >= exact - 1e-5).all())
    estimates = torch.stack([family.bound(WHOLES, Given(), gen(seed), draws=3, steps=steps) for seed in range(200)])
    error = estimates.std(0) / len(estimates) ** 0.5
    assert bool(((estimates.mean(0) - mean).abs() < 5 * error + 1e-4).all())


@torch.no_grad()
def test_sampling_gives_each_whole_its_own_chance() -> None:
    model = masked()
    assert isinstance(model.family, Masked)
    nats = paths(model.family, (1, 1, 1))
    chances = (-nats).exp().mean(0)
    made = all_values(model, Given(), [(1, index) for index in range(4000)], {"steps": 3})
    counts = torch.bincount((made * torch.tensor([9, 3, 1])).sum(1), minlength=27) / len(made)
    assert float((counts - chances).abs().sum()) < 0.12  # 0.066 is expected of 4,000 draws from 27 equal chances


def test_the_bound_of_what_was_learnt_comes_down_to_the_entropy_of_the_data_and_not_below() -> None:
    """Of the 27 wholes, three are seen, one of them half of the time: 1.04 nats."""
    shares = torch.tensor([0.5, 0.25, 0.25])
    wholes = torch.tensor([[0, 1, 2], [2, 2, 0], [1, 0, 0]])
    model = model_of("masked/transformer", LETTERS, net={"kind": "transformer", "width": 48, "depth": 2})
    optimizer = optimizers["adamw"](model, 1e-2)
    generator = gen()
    for step in range(300):
        optimizer.param_groups[0]["lr"] = 1e-2 * (1 - step / 300)
        x = wholes[torch.multinomial(shares, 64, replacement=True, generator=generator)]
        optimizer.zero_grad()
        model.family.loss("fill", x, Given(), generator).total.backward()
        optimizer.step()
    model.eval()
    x = wholes.repeat_interleave(torch.tensor([200, 100, 100]), 0)
    entropy = float(-(shares * shares.log()).sum())
    with torch.no_grad():
        bound = float(model.family.held_out(x, Given(), gen(1))["loss"].mean()) * 3
    assert entropy - 0.03 < bound < entropy + 0.12


def test_what_is_kept_stays_and_what_is_filled_follows_the_seed() -> None:
    space = SPACES["text"]
    model = masked(space)
    x = space.random(6, gen())
    where = torch.rand(x.shape, generator=gen(1)) < 0.5
    where[0], where[1] = True, False
    for order in ("random", "sure"):
        options = MaskedSampling(steps=4, order=order)
        made = model.filled(x, where, Given(), options, SEEDS)
        space.check(made)
        assert torch.equal(made[~where], x[~where])
        assert not torch.equal(made[where], x[where])
        assert torch.equal(model.filled(x, where, Given(), options, SEEDS), made)
        turned = model.filled(x.flip(0), where.flip(0), Given(), options, SEEDS[::-1])
        assert torch.equal(turned.flip(0), made)
        assert not torch.equal(model.filled(x, where, Given(), options, [(6, index) for index in range(6)])[0], made[0])


def test_pictures_are_filled_by_whole_positions() -> None:
    space = SPACES["image"]
    model = masked(space)
    x = space.random(6, gen())
    near = model.family.bridge.leave(model.family.bridge.enter(x))  # type: ignore[attr-defined]
    where = torch.zeros(6, *space.shape, dtype=torch.bool)
    where[:, 1:3] = True
    made = model.filled(x, where, Given(), MaskedSampling(steps=5), SEEDS)
    space.check(made)
    assert torch.equal(made[:, 0], near[:, 0])
    assert torch.equal(made[:, 3:], near[:, 3:])
    assert not torch.equal(made[:, 1:3], near[:, 1:3])


def test_a_position_of_no_weight_is_known_and_costs_nothing() -> None:
    model = masked()
    family = model.family
    assert isinstance(family, Masked)
    x = WHOLES
    with torch.no_grad():
        known = Given(weight=torch.tensor([1.0, 0.0, 0.0]).expand(27, 3))
        assert torch.allclose(family.bound(x, known, gen(), draws=2), costs(family, x, {1, 2})[:, 0], atol=1e-5)
        nothing = Given(weight=torch.zeros(27, 3))
        assert float(family.bound(x, nothing, gen(), draws=2).abs().sum()) == 0
        assert float(family.loss("fill", x, nothing, gen()).total) == 0
        alike = Given(weight=torch.ones(27, 3))
        assert torch.equal(family.bound(x, alike, gen(), draws=2), family.bound(x, Given(), gen(), draws=2))


def test_guidance_moves_what_is_filled_towards_what_is_given() -> None:
    spaces = {"label": LabelCodec.load({"names": ["a", "b"]}).space}
    model = awaken(model_of("masked/transformer", LETTERS, spaces), 3)
    given = given_of(spaces, 6)
    plain = model.made(given, MaskedSampling(steps=3), SEEDS)
    assert torch.equal(model.made(given, MaskedSampling(steps=3, guidance=1.0), SEEDS), plain)
    assert not torch.equal(model.made(given, MaskedSampling(steps=3, guidance=30.0), SEEDS), plain)


def test_at_temperature_nought_only_the_order_is_drawn() -> None:
    model = masked(SPACES["text"])
    surely = MaskedSampling(temperature=0, order="sure")
    made = model.made(Given(), surely, SEEDS)
    assert bool((made == made[0]).all())
    assert MaskedOptions().net.width > TRANSFORMER.width
