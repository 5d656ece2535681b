"""Every registered augmentation keeps shape and range, repeats by its generator, differs by sample, and can be differentiated twice."""

import pytest
import torch

from karat.learning.families.diffusion import Diffusion, DiffusionOptions
from karat.learning.families.family import Noise
from karat.learning.nets.convnet import ConvnetSpec
from karat.values.augment import Augmentation, AugmentSpec, augment, augmentations
from karat.values.given import Given
from karat.values.spaces import Space
from karat.words.errors import SpecError
from karat.work.recipes.recipes import Dials, cook

STRENGTHS = {"colour": 0.4, "cutout": 0.5, "flip": 0.5, "noise": 0.2, "rotate": 15.0, "shift": 0.2}
EVERY_OP = sorted(augmentations)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int = 8, channels: int = 3, *, height: int = 9, width: int = 12, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.rand((count, height, width, channels), generator=seeded(1), dtype=dtype) * 2 - 1


def spec_of(name: str, **others) -> AugmentSpec:
    return AugmentSpec(ops={name: STRENGTHS.get(name, augmentations[name].most / 2)}, allow_label_changes=True, **others)


@pytest.mark.parametrize("name", EVERY_OP)
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("padding", ["edge", "background"])
def test_shape_range_repetition_and_difference_by_sample(name, channels, padding):
    same = pictures(1, channels).expand(8, -1, -1, -1)
    spec = spec_of(name, padding=padding)
    made = augment(same, spec, seeded())
    assert made.shape == same.shape
    assert made.dtype == same.dtype
    assert made.abs().max() <= 1 + 1e-6
    assert torch.equal(made, augment(same, spec, seeded()))
    assert not torch.equal(made, augment(same, spec, seeded(2)))
    assert len(torch.unique(made, dim=0)) > 1, "each picture is changed in its own way"


@pytest.mark.parametrize("name", EVERY_OP)
@pytest.mark.parametrize("padding", ["edge", "background"])
def test_first_and_second_derivatives(name, padding):
    start = pictures(2, 4 if name in ("colour", "noise") else 1, height=3, width=4, dtype=torch.float64).requires_grad_()

    def penalty(values: torch.Tensor) -> torch.Tensor:
        return augment(values, spec_of(name, padding=padding), seeded()) ** 3

    assert torch.autograd.gradcheck(penalty, (start,))
    assert torch.autograd.gradgradcheck(penalty, (start,))


def test_all_together_pass_a_gradient_penalty():
    values = pictures().requires_grad_()
    critic = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(9 * 12 * 3, 8), torch.nn.Softplus(), torch.nn.Linear(8, 1))
    score = critic(augment(values, AugmentSpec(ops=STRENGTHS), seeded())).sum()
    (slope,) = torch.autograd.grad(score, values, create_graph=True)
    slope.square().sum().backward()
    assert values.grad is not None
    assert values.grad.isfinite().all()
    assert values.grad.abs().sum() > 0


def test_chance_leaves_the_others_alone():
    values = pictures(200)
    made = augment(values, AugmentSpec(ops={"noise": 0.5}, chance=0.3), seeded())
    touched = (made != values).flatten(1).any(1).float().mean()
    assert 0.2 < touched < 0.4
    assert torch.equal(augment(values, AugmentSpec(ops=STRENGTHS, chance=0), seeded()), values)
    assert torch.equal(augment(values, AugmentSpec(ops=dict.fromkeys(STRENGTHS, 0)), seeded()), values)
    assert torch.equal(augment(values, AugmentSpec(), seeded()), values)


def test_mirror_is_exact():
    values = pictures(4)
    assert torch.equal(augment(values, AugmentSpec(ops={"flip": 1}), seeded()), values.flip(2))


def test_shift_moves_whole_pixels_and_never_wraps():
    values = torch.full((64, 8, 8, 1), -1.0)
    values[:, :, 0] = 1  # a bright column at the left edge
    edge = augment(values, AugmentSpec(ops={"shift": 0.25}), seeded())
    assert set(edge.unique().tolist()) == {-1.0, 1.0}
    assert (edge[:, :, -1] == -1).all(), "nothing comes back in on the right"
    grey = augment(values, AugmentSpec(ops={"shift": 0.25}, padding="background", background=(0, 0, 0)), seeded())
    assert (grey == 1).flatten(1).sum(1).max() <= 8


def test_background_is_transparent_where_there_is_alpha():
    values = torch.zeros((32, 8, 8, 4))
    made = augment(values, AugmentSpec(ops={"shift": 0.5}, padding="background", background=(255, 0, 0)), seeded())
    outside = made[made[..., 3] != 0]
    assert len(outside)
    assert torch.equal(outside, torch.tensor([1.0, -1, -1, -1]).expand_as(outside))


def test_rotate_is_a_rotation_about_the_middle():
    ramp = torch.linspace(-0.4, 0.4, 9)
    down, right = torch.meshgrid(ramp, ramp, indexing="ij")
    values = torch.stack((down, right, torch.zeros(9, 9)), dim=2)[None]  # each pixel holds its own place
    made = augment(values.expand(64, -1, -1, -1), AugmentSpec(ops={"rotate": 30}), seeded())
    inner = (slice(None), slice(2, 7), slice(2, 7))
    distance = values.square().sum(3).expand(64, -1, -1)
    assert torch.allclose(made.square().sum(3)[inner], distance[inner], atol=1e-5), "distances from the middle stay"
    angles = torch.atan2(made[:, 4, 6, 0], made[:, 4, 6, 1]).rad2deg()
    assert -30 <= angles.min() < -15
    assert 15 < angles.max() <= 30


def test_cutout_covers_one_box():
    values = pictures(16, 1, height=8, width=8)
    covered = augment(values, AugmentSpec(ops={"cutout": 0.5}), seeded()) != values
    assert (covered.flatten(1).sum(1) == 16).all()
    assert torch.equal(covered.any(1, keepdim=True) & covered.any(2, keepdim=True), covered)


def test_label_changing_operations_are_refused_with_a_condition():
    for ops in ({"flip": 0.5}, {"colour": 0.2}, {"rotate": 15}):
        with pytest.raises(SpecError, match=next(iter(ops))) as caught:
            AugmentSpec(ops=ops).check({"label"})
        assert "allow_label_changes" in caught.value.repair
        AugmentSpec(ops=ops).check(set())
        AugmentSpec(ops=ops, allow_label_changes=True).check({"label"})
    AugmentSpec(ops={"rotate": 5, "shift": 0.1, "cutout": 0.3, "noise": 0.1}).check({"label", "text"})


def test_wrong_specs_are_refused():
    with pytest.raises(SpecError, match="flop"):
        AugmentSpec.from_values({"ops": {"flop": 1}})
    for ops in ({"flip": 2}, {"shift": -0.1}, {"rotate": float("nan")}):
        with pytest.raises(SpecError, match="between 0 and"):
            AugmentSpec.from_values({"ops": ops})
    spec = AugmentSpec(ops=STRENGTHS, padding="background")
    assert AugmentSpec.from_json(spec.to_json()) == spec


def test_every_operation_says_what_its_strength_means():
    assert all(isinstance(augmentations[name], Augmentation) and augmentations[name].meaning for name in EVERY_OP)


def test_a_flow_that_is_told_what_is_altered_makes_pictures_as_they_come():
    light_on_the_left = torch.ones(16, 8, 8, 1)
    light_on_the_left[:, :, 4:] = -1
    with torch.random.fork_rng():
        torch.manual_seed(0)
        options = DiffusionOptions(net=ConvnetSpec(width=16, levels=(1, 2)), augment=AugmentSpec(ops={"flip": 1.0}))
        flow = Diffusion(Space(axes=("height", "width"), shape=(8, 8), channels=1), {}, options)
    optimizer = torch.optim.Adam(flow.parameters(), 2e-3)
    for step in range(150):
        optimizer.zero_grad()
        flow.loss("flow", light_on_the_left, Given(), seeded(step)).total.backward()
        optimizer.step()
    with torch.no_grad():
        *_, end = flow.sample(Given(), flow.Sampling(), Noise([(0, index) for index in range(16)]))
    sides = end.preview[:, :, :4].mean((1, 2, 3)) - end.preview[:, :, 4:].mean((1, 2, 3))
    assert (sides > 0.5).all(), "half of what it learnt from was mirrored"


def test_a_flow_of_few_pictures_is_sheltered():
    few, many = (
        cook(Space(axes=("height", "width"), shape=(32, 32), channels=3), {}, Dials(), scarce=scarce)[0] for scarce in (True, False)
    )
    assert isinstance(few, DiffusionOptions)
    assert isinstance(many, DiffusionOptions)
    assert few.augment.ops
    assert not many.augment.ops
    with pytest.raises(SpecError, match="for pictures"):
        cook(Space(channels=3), {}, Dials(family="diffusion", changes={"family.augment.ops.flip": 0.5}))
