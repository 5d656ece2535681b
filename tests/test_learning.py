"""What nets, families and solvers promise, asked of every registered one."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given as examples
from hypothesis import settings
from hypothesis import strategies as st
from tiny import CONDITIONS, SPACES, TRANSFORMER, Toy, awaken, forms, given_of, model_of, quick, suits

from karat.learning.families.autoregressive import AutoregressiveSampling
from karat.learning.families.choosing import choose
from karat.learning.families.family import Noise, stream_seed, uniform
from karat.learning.families.solvers import grid, solvers
from karat.learning.families.vae import Quantised
from karat.learning.models import Model, ModelSpec
from karat.learning.nets.convnet import ConvnetSpec
from karat.learning.nets.nets import mapper, reader, writer
from karat.learning.nets.parts import coordinates, rotary, rotate
from karat.learning.nets.reading import Patches, patch_for
from karat.learning.nets.transformer import CausalTransformer
from karat.values.bridges import as_ids, as_numbers
from karat.values.given import Given
from karat.values.spaces import Space
from karat.words.errors import ReleaseError, SpecError
from karat.work.generation import all_values
from karat.work.plans import TrainingPlan

FORMS = list(forms())
GUIDED = [form for form in FORMS if "guidance" in model_of(form, SPACES["image"]).family.Sampling.model_fields]
BOTH = CONDITIONS["label+text"]
SEVEN = [(3, index) for index in range(7)]


def space_of(form: str) -> Space:
    return SPACES["image"] if suits(form, SPACES["image"]) else SPACES["table"]


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# ---- how nets begin


def test_a_folded_writer_begins_without_a_pattern_of_the_fold() -> None:
    picture = Space(axes=("height", "width"), shape=(8, 8), channels=3)
    net = writer(Space(channels=5), picture, {}, ConvnetSpec(width=8, levels=(1, 2), fold=2))
    made = net(torch.randn(4, 5, generator=gen()), Given())
    blocks = made.unflatten(2, (4, 2)).unflatten(1, (4, 2))
    assert torch.equal(blocks, blocks[:, :, :1, :, :1].expand_as(blocks))
    assert made.std() > 0


def test_smooth_nets_have_no_pattern_of_their_grids() -> None:
    picture = Space(axes=("height", "width"), shape=(16, 16), channels=3)
    patterns = {}
    for smooth in (False, True):
        torch.manual_seed(0)
        spec = ConvnetSpec(width=8, levels=(1, 2), fold=2, smooth=smooth)
        critic = awaken(reader(picture, Space(channels=1), {}, spec))
        x = picture.random(16, gen()).requires_grad_()
        (slope,) = torch.autograd.grad(critic(x, Given()).sum(), x)
        made = awaken(writer(Space(channels=5), picture, {}, spec))(torch.randn(4, 5, generator=gen()), Given())
        patterns[smooth] = [pattern_of(slope), pattern_of(made.detach())]
    assert all(smooth < folded / 2 for smooth, folded in zip(patterns[True], patterns[False], strict=True)), patterns


def pattern_of(pictures: torch.Tensor) -> float:
    """Give how much of what varies in some pictures repeats every second point of the grid."""
    power = torch.fft.fft2(pictures - pictures.mean((1, 2), keepdim=True), dim=(1, 2)).abs().square()
    half = pictures.shape[1] // 2
    return float((power[:, half, half] + power[:, half, 0] + power[:, 0, half]).sum() / power.sum())


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_smooth_nets_serve_every_rank(rank: int) -> None:
    space = Space(axes=("time", "height", "width")[:rank], shape=(8, 4, 4)[:rank], channels=2)
    spec = ConvnetSpec(width=8, levels=(1, 2), fold=2, smooth=True)
    x, t = space.random(3, gen()), torch.rand(3, generator=gen())
    mapped = awaken(mapper(space, 2, {}, spec))(x, t, Given())
    latent = awaken(reader(space, Space(channels=4), {}, spec))(x, Given())
    made = awaken(writer(Space(channels=4), space, {}, spec))(latent, Given())
    assert mapped.shape == made.shape == x.shape


# ---- what is made depends on its own request alone


@pytest.mark.parametrize("form", FORMS)
def test_a_value_depends_on_nothing_made_beside_it(form: str) -> None:
    model = awaken(model_of(form, space_of(form), BOTH))
    options = quick(model)
    given = given_of(BOTH, 11)
    seeds = [(3, index) for index in range(11)]
    whole = all_values(model, given, seeds, options)
    order = torch.randperm(11, generator=gen(2))
    assert torch.equal(all_values(model, given.rows(order), [seeds[i] for i in order], options), whole[order])
    assert torch.equal(all_values(model, given.rows(slice(3, 7)), seeds[3:7], options), whole[3:7])
    for index in (0, 9):
        alone = all_values(model, given.rows(slice(index, index + 1)), [seeds[index]], options)
        assert torch.equal(alone[0], whole[index])


@pytest.mark.parametrize("form", FORMS)
def test_the_seed_decides(form: str) -> None:
    model = awaken(model_of(form, space_of(form)))
    first, again = (all_values(model, Given(), SEVEN, quick(model)) for _ in range(2))
    assert torch.equal(first, again)
    other = all_values(model, Given(), [(4, index) for _, index in SEVEN], quick(model))
    assert not torch.equal(first, other)
    assert len({value.numpy().tobytes() for value in first}) > 1, "the index decides too"


def test_noise_streams_do_not_know_each_other() -> None:
    together, alone = Noise(SEVEN), Noise(SEVEN[4:5])
    for draw in ("normal", "uniform", "normal"):
        assert torch.equal(getattr(together, draw)(3, 2)[4], getattr(alone, draw)(3, 2)[0])
    assert len({stream_seed(seed, index) for seed in range(-3, 9) for index in range(-9, 40)}) == 12 * 49


def test_stratified_draws_fill_every_stratum_once() -> None:
    drawn = uniform(50, torch.zeros(()), gen())
    assert sorted((drawn * 50).long().tolist()) == list(range(50))


# ---- what is given is used, and what is left out is not


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("condition", [name for name, spaces in CONDITIONS.items() if len(spaces) == 1])
def test_conditions_act_and_left_out_ones_do_not(form: str, condition: str) -> None:
    spaces = CONDITIONS[condition]
    model = awaken(model_of(form, space_of(form), spaces))
    (name,) = spaces
    one, other = given_of(spaces, 7, 1), given_of(spaces, 7, 2)
    losses = [figures(model, spaces, given) for given in (one, other, one.nothing(), other.nothing())]
    assert losses[0] != losses[1]
    assert losses[2] == losses[3]
    assert losses[0] != losses[2]
    keep = Given(one.values, {name: torch.arange(7) % 2 == 0})
    mixed = all_values(model, keep, SEVEN, quick(model))
    assert torch.equal(mixed[::2], all_values(model, one, SEVEN, quick(model))[::2])
    assert torch.equal(mixed[1::2], all_values(model, one.nothing(), SEVEN, quick(model))[1::2])


def figures(model: Model, spaces: dict[str, Space], given: Given) -> list[float]:
    x, _ = Toy(model.space, spaces).batch(0, 7, gen())
    with torch.no_grad():
        return [float(each.sum()) for each in model.family.held_out(x, given, gen(1)).values()]


@pytest.mark.parametrize("form", GUIDED)
def test_guidance_of_one_is_none_and_more_is_more(form: str) -> None:
    model = awaken(model_of(form, space_of(form), BOTH))
    given = given_of(BOTH, 7)
    options = quick(model)
    plain, one, three = (all_values(model, given, SEVEN, {**options, **more}) for more in ({}, {"guidance": 1.0}, {"guidance": 3.0}))
    assert torch.equal(plain, one)
    assert not torch.equal(plain, three)
    none = all_values(model, given.nothing(), SEVEN, {**options, "guidance": 3.0})
    assert torch.allclose(none.float(), all_values(model, given.nothing(), SEVEN, options).float(), atol=1e-4)


# ---- the causal transformer


@pytest.mark.parametrize("condition", ["none", "label", "label+text"])
@pytest.mark.parametrize("shape", [(9,), (3, 4), (2, 2, 3)])
def test_the_causal_transformer_is_causal_and_steps_like_it_learns(condition: str, shape: tuple[int, ...]) -> None:
    given_spaces = CONDITIONS[condition]
    space = Space(axes=tuple("abc"[: len(shape)]), shape=shape, vocab=5)
    net = CausalTransformer(space, given_spaces, TRANSFORMER)
    awaken(net)
    ids = space.random(3, gen()).flatten(1)
    given = given_of(given_spaces, 3)
    with torch.no_grad():
        logits = net(ids, given)
        changed = ids.clone()
        changed[:, 4:] = (changed[:, 4:] + 1) % 5
        other = net(changed, given)
        caches, inputs, at = net.caches(), net.opening(given, 3), 0
        for position in range(space.positions):
            assert torch.allclose(net.step(inputs, at, caches), logits[:, position], atol=1e-5)
            inputs, at = net.embed(ids[:, position], position + 1) if position + 1 < space.positions else inputs, net.lead + position
    assert torch.allclose(other[:, :5], logits[:, :5], atol=1e-6)
    assert not torch.allclose(other[:, 5:], logits[:, 5:], atol=1e-3)


def drawn(logits: list[float], count: int = 400, **options: Any) -> set[int]:
    noise = Noise([(0, index) for index in range(count)])
    return set(choose(torch.tensor([logits]).expand(count, -1), AutoregressiveSampling(**options), noise.uniform(1)[:, 0]).tolist())


def test_choose_keeps_to_what_is_likely() -> None:
    logits = [math.log(chance) for chance in (0.1, 0.5, 0.05, 0.3, 0.05)]
    assert drawn(logits) == {0, 1, 2, 3, 4}
    assert drawn(logits, temperature=0) == {1}
    assert drawn(logits, top_k=1) == {1}
    assert drawn(logits, top_k=2) == {1, 3}
    assert drawn(logits, top_k=9) == {0, 1, 2, 3, 4}
    assert drawn(logits, top_p=0.4) == {1}
    assert drawn(logits, top_p=0.75) == {1, 3}
    assert drawn(logits, top_p=0.85) == {0, 1, 3}
    assert drawn([0.0, -1e9, 0.0]) == {0, 2}
    assert drawn([2.0, 2.0, 2.0], temperature=0) == {0}


def test_choose_draws_with_the_right_chances() -> None:
    chances = torch.tensor([0.1, 0.5, 0.05, 0.3, 0.05])
    numbers = Noise([(1, index) for index in range(8000)]).uniform(1)[:, 0]
    ids = choose(chances.log().expand(8000, -1), AutoregressiveSampling(), numbers)
    assert torch.allclose(torch.bincount(ids, minlength=5) / 8000, chances, atol=0.02)


# ---- solvers


def error(name: str, steps: int) -> float:
    """Follow the flow from N(0, 1) to N(0.4, 0.3²), whose straight-path velocity is linear in x; its end is known exactly."""
    middle, spread = 0.4, 0.3

    def velocity(x: torch.Tensor, t: float) -> torch.Tensor:
        total = (1 - t) ** 2 + (t * spread) ** 2
        data = middle + t * spread**2 * (x - t * middle) / total
        noise = (1 - t) * (x - t * middle) / total
        return data - noise

    start = torch.linspace(-2, 2, 9, dtype=torch.float64)
    path = list(solvers[name](velocity, start, grid(steps, 1.0)))
    assert [step for step, _, _ in path] == list(range(1, steps + 1))
    _, end, guess = path[-1]
    assert guess.shape == end.shape
    return float((end - (middle + spread * start)).abs().max())


@pytest.mark.parametrize("name", solvers)
def test_solvers_converge_at_their_order(name: str) -> None:
    order = {"euler": 1.0}.get(name, 2.0)
    assert math.log(error(name, 64) / error(name, 256), 4) > order - 0.4  # log(steps) stands beside the order of dpm++2m
    if order > 1:
        assert all(error(name, steps) < error("euler", steps) for steps in (4, 8, 16, 32))


def test_the_grid_runs_from_noise_to_data() -> None:
    for shift in (0.5, 1.0, 3.0):
        times = grid(7, shift)
        assert (times[0], times[-1], len(times)) == (0.0, 1.0, 8)
        assert times == sorted(set(times))
    assert grid(4, 3.0)[2] < 0.5 < grid(4, 0.5)[2]


# ---- parts


@settings(max_examples=40, deadline=None)
@examples(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3)), min_size=1, max_size=3), st.integers(1, 3))
def test_patches_come_back(sides: list[tuple[int, int]], channels: int) -> None:
    shape, patch = tuple(grid * side for grid, side in sides), tuple(side for _, side in sides)
    space = Space(axes=tuple("abc"[: len(shape)]), shape=shape, channels=channels)
    x = space.random(2, gen())
    patches = Patches(space, patch)
    split = patches.split(x)
    assert split.shape == (2, patches.space.positions, patches.space.channels)
    assert torch.equal(patches.join(split, channels), x)
    corner = x[(slice(None), *(slice(0, side) for side in patch))]
    assert torch.equal(split[:, 0], corner.flatten(1))


@settings(max_examples=40, deadline=None)
@examples(st.lists(st.integers(1, 40), min_size=1, max_size=3), st.integers(1, 300))
def test_patch_for_divides_and_is_no_larger_than_needed(shape: list[int], longest: int) -> None:
    space = Space(axes=tuple("abc"[: len(shape)]), shape=tuple(shape), channels=1)
    patch = patch_for(space, longest)
    positions = Patches(space, patch).space.positions
    stuck = all(side // part % 2 for side, part in zip(shape, patch))
    assert positions <= longest or stuck
    assert set(patch) == {1} or positions * 2 > longest or stuck


@settings(max_examples=40, deadline=None)
@examples(st.integers(2, 9), st.integers(1, 4), st.integers(0, 99))
def test_bridges_come_back(levels: int, length: int, seed: int) -> None:
    ids = Space(axes=("place",), shape=(length,), vocab=levels)
    numbers = Space(axes=("place",), shape=(length,), channels=2)
    for outer in (ids, numbers):
        x = outer.random(3, gen(seed))
        for bridge in (as_numbers(outer), as_ids(outer, levels)):
            inside = bridge.enter(x)
            bridge.inner.check(inside)
            back = bridge.leave(inside)
            bridge.outer.check(back)
            exact = outer.is_ids or not bridge.inner.is_ids
            assert torch.equal(back, x) if exact else bool(((back - x).abs() <= 1 / (levels - 1) + 1e-6).all())
            assert torch.equal(bridge.enter(back), inside)


def test_quantised_codes_are_ids_and_back() -> None:
    squeeze = Quantised((4, 3, 2))
    ids = torch.arange(24)
    codes = squeeze.from_ids(ids)
    assert len({tuple(code) for code in codes.tolist()}) == 24
    assert torch.equal(squeeze.ids(codes), ids)
    assert torch.equal(squeeze.nearest(codes), codes)
    raw = torch.randn(2, 5, 3, generator=gen()) * 2
    settled = squeeze.settle(raw)
    assert torch.allclose(squeeze.from_ids(squeeze.ids(settled)), settled)
    with pytest.raises(SpecError, match="levels"):
        model_of("vae-quantised/transformer", SPACES["table"], levels=(4, 1))


@pytest.mark.parametrize("shape", [(7,), (4, 5), (3, 4, 5)])
def test_rotary_products_know_only_the_distance(shape: tuple[int, ...]) -> None:
    places = coordinates(shape)
    q, k = torch.randn(2, 1, 1, 1, 16, generator=gen(), dtype=torch.float64).expand(-1, -1, -1, len(places), -1)
    angles = rotary(places, 16).double()
    products = (rotate(q, angles) @ rotate(k, angles).transpose(-1, -2))[0, 0]
    seen: dict[tuple[float, ...], float] = {}
    for a, row in enumerate(places):
        for b, column in enumerate(places):
            away = tuple((row - column).tolist())
            assert abs(seen.setdefault(away, float(products[a, b])) - float(products[a, b])) < 1e-5
    assert len({round(product, 6) for product in seen.values()}) > len(seen) // 2
    turned = rotate(q, angles)
    assert torch.allclose(turned.norm(dim=-1), q.norm(dim=-1))


def test_the_latent_of_an_autoencoder_goes_there_and_back() -> None:
    for form in (form for form in forms() if form.startswith("vae")):
        model = awaken(model_of(form, SPACES["image"]))
        x = SPACES["image"].random(5, gen())
        family: Any = model.family
        with torch.no_grad():
            latents = family.to_latents(x)
            family.latents.check(latents)
            model.space.check(family.from_latents(latents))


def test_the_penalty_is_measured_in_half_precision_too() -> None:
    model = awaken(model_of("gan/convnet", SPACES["image"]))
    x, given = Toy(model.space, {}).batch(0, 64, gen())
    slopes = []
    for half in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            slopes.append(float(model.family.loss("critic", x, given, gen(1)).figures["slope"]))
    assert slopes[1] == pytest.approx(slopes[0], rel=0.05)


@pytest.mark.parametrize("net", ["convnet", "transformer"])
def test_what_is_given_once_is_given_to_every_copy(net: str) -> None:
    spaces = CONDITIONS["label+text"]
    critic = awaken(model_of(f"gan/{net}", SPACES["image"], spaces)).family.critic
    x, given = SPACES["image"].random(6, gen()), given_of(spaces, 2)
    written_out = given.rows(torch.arange(2).repeat(3))
    assert torch.allclose(critic(x, given), critic(x, written_out), atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_a_word_that_is_hidden_does_not_act_and_the_others_do(form: str) -> None:
    model = awaken(model_of(form, space_of(form), BOTH))
    told = given_of(BOTH, 7)
    words = told.keep["text"][:, None].expand(told.values["text"].shape)

    def losses(hidden: tuple[int, ...], changed: tuple[int, ...]) -> list[float]:
        places = torch.arange(words.shape[1])
        ids = torch.where(torch.isin(places, torch.tensor(changed)), (told.values["text"] + 1) % 260, told.values["text"])
        keep = {**told.keep, "text": words & ~torch.isin(places, torch.tensor(hidden))}
        return figures(model, BOTH, Given({**told.values, "text": ids}, keep))

    assert losses((), ()) == figures(model, BOTH, told), "words that are all kept are the whole text"
    assert losses((0, 2), ()) == losses((0, 2), (0, 2)) != losses((), ())
    assert losses((0, 2), ()) != losses((0, 2), (1,))


def test_words_are_hidden_as_often_as_asked_and_nothing_else_is() -> None:
    told = given_of({**CONDITIONS["label+text"], **CONDITIONS["image"]}, 500)
    dropped = told.dropped(0.5, gen())
    hidden = dropped.hidden(0.2, gen(1))
    words = hidden.keep["text"]
    assert words[dropped.keep["text"]].float().mean().item() == pytest.approx(0.8, abs=0.03)
    assert not words[~dropped.keep["text"]].any()
    assert all(torch.equal(hidden.keep[name], dropped.keep[name]) for name in ("label", "image"))
    assert told.hidden(0.0, gen()) is told


def test_batches_of_one_keep_every_figure_finite() -> None:
    for form in FORMS:
        model = model_of(form, space_of(form)).train()
        x, given = Toy(model.space, {}).batch(0, 1, gen())
        for turn in model.family.turns:
            model.family.loss(turn, x, given, gen()).total.backward()
        assert all(bool(value.isfinite().all()) for value in model.state_dict().values())


def test_the_penalty_is_finite_and_grows_with_the_slope() -> None:
    model = model_of("gan/transformer", SPACES["image"])
    x, given = Toy(model.space, {}).batch(0, 8, gen())
    slopes = []
    for size in (0.0, 0.05, 0.5):
        with torch.no_grad():
            for parameter in model.family.trained_in("critic").parameters():
                parameter.add_(torch.randn(parameter.shape, generator=gen(3)) * size)
        slopes.append(float(model.family.loss("critic", x, given, gen(1)).figures["slope"]))
    assert all(map(math.isfinite, slopes))
    assert slopes[0] < slopes[1] < slopes[2]


# ---- specs and weights


@pytest.mark.parametrize("form", forms())
def test_specs_survive_json_and_name_the_same_thing(form: str) -> None:
    spec = model_of(form, space_of(form), BOTH).spec
    again = ModelSpec.from_json(spec.to_json())
    assert again == spec
    assert again.digest() == spec.digest()
    assert type(again.family) is type(spec.family)
    wider = ModelSpec.from_values({**spec.model_dump(), "space": {**spec.space.model_dump(), "shape": [2 * n for n in spec.space.shape]}})
    assert wider.digest() != spec.digest()


def test_where_a_run_ran_does_not_enter_its_name() -> None:
    plan = TrainingPlan(steps=5)
    assert plan.changed(threads=2, device="cpu", keep=5, save_minutes=1.0).digest() == plan.digest()
    assert plan.changed(seed=1).digest() != plan.digest()


def test_specs_refuse_what_does_not_exist() -> None:
    with pytest.raises(SpecError, match="no family called 'difusion'"):
        ModelSpec.from_values({"space": SPACES["image"], "family": {"kind": "difusion"}})
    with pytest.raises(SpecError, match="no family"):
        ModelSpec.from_values({"space": SPACES["image"], "family": {}})
    with pytest.raises(SpecError, match="depht"):
        ModelSpec.from_values({"space": SPACES["image"], "family": {"kind": "autoregressive", "net": {"depht": 3}}})
    model = model_of("diffusion/transformer", SPACES["image"])
    with pytest.raises(SpecError, match="speed"):
        model.sampling(speed=3)
    with pytest.raises(SpecError, match="no solver called 'huen'"):
        model.made(Given(), model.sampling(solver="huen"), SEVEN)
    with pytest.raises(SpecError, match="one to three axes"):
        model_of("diffusion/convnet", Space(channels=3))


def test_models_start_from_their_seed() -> None:
    for form in FORMS:
        spec = model_of(form, space_of(form)).spec
        state = torch.get_rng_state()
        one, same, other = (Model(spec, seed=seed).state_dict() for seed in (3, 3, 4))
        assert torch.equal(torch.get_rng_state(), state), "nobody else's randomness moves"
        assert all(torch.equal(one[name], same[name]) for name in one)
        assert any(not torch.equal(one[name], other[name]) for name in one)


def test_weights_that_do_not_fit_are_refused() -> None:
    model = model_of("diffusion/transformer", SPACES["table"])
    weights = dict(model.state_dict())
    name = next(iter(weights))
    for wrong, why in (
        ({key: value for key, value in weights.items() if key != name}, "missing"),
        ({**weights, "more": torch.zeros(1)}, "unknown"),
        ({**weights, name: torch.zeros(1, 2, 3)}, "wrong shape"),
    ):
        with pytest.raises(ReleaseError, match=why):
            model.load_weights(wrong)
    model.load_weights(weights)
