"""Recipes: what follows from a space, a family and a device."""

import pytest

from karat.learning.families.diffusion import DiffusionOptions
from karat.learning.families.family import families
from karat.learning.families.gan import GanOptions
from karat.learning.families.vae import Vae, VaeOptions
from karat.learning.nets.convnet import ConvnetSpec
from karat.values.spaces import Space
from karat.words.errors import SpecError
from karat.work.devices import LANES, has_fast_bf16
from karat.work.plans import TrainingPlan
from karat.work.recipes.dials import Dials
from karat.work.recipes.recipes import cook, recipes

SIDES = (8, 16, 32, 64, 96)
MADE_OF_NUMBERS = [family for family in recipes if family not in ("pretrained", "autoencoder")]


def picture(side: int) -> Space:
    return Space(axes=("height", "width"), shape=(side, side), channels=3)


def plan_of(family: str, side: int, device: str) -> TrainingPlan:
    return cook(picture(side), {}, Dials(family=family, changes={"plan.device": device}))[1]


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("family", MADE_OF_NUMBERS)
def test_convnets_alone_learn_in_lanes_and_on_the_cpu_alone(family: str, side: int) -> None:
    options = cook(picture(side), {}, Dials(family=family))[0]
    is_convnet = isinstance(getattr(options, "net", None), ConvnetSpec)
    assert plan_of(family, side, "cpu").lanes == (LANES if is_convnet else 1)
    assert plan_of(family, side, "cuda").lanes == 1
    assert not plan_of(family, side, "cuda").bf16


@pytest.mark.parametrize("family", ["diffusion", "gan", "vae"])
def test_half_precision_is_for_larger_pictures(family: str) -> None:
    fast = has_fast_bf16("cpu")
    assert [plan_of(family, side, "cpu").bf16 for side in (8, 16, 32, 64)] == [False, False, fast, fast]
    assert not plan_of("diffusion", 96, "cpu").bf16, "a transformer"


def test_latents_of_larger_pictures_keep_their_places() -> None:
    for side, shape in ((8, ()), (16, ()), (32, (4, 4)), (64, (8, 8))):
        options = cook(picture(side), {}, Dials(family="vae"))[0]
        assert isinstance(options, VaeOptions)
        vae = families["vae"](picture(side), {}, options)
        assert isinstance(vae, Vae)
        assert vae.latents.shape == shape


def test_larger_pictures_made_at_once_are_made_by_smooth_nets() -> None:
    for side, smooth in ((8, False), (16, False), (32, True), (64, True)):
        vae, gan = (cook(picture(side), {}, Dials(family=family))[0] for family in ("vae", "gan"))
        assert isinstance(gan, GanOptions)
        assert isinstance(vae, VaeOptions)
        assert [getattr(net, "smooth", None) for net in (vae.net, gan.net, gan.critic)] == [smooth] * 3


def test_a_base_does_not_learn_in_lanes() -> None:
    base = {"family.config": {}, "family.start": 0, "family.end": 1}
    with pytest.raises(SpecError, match="lanes"):
        cook(Space(axes=("token",), shape=(16,), vocab=300), {}, Dials(family="pretrained", changes={**base, "plan.lanes": 2}))


def test_larger_pictures_are_guided() -> None:
    for side, guidance in ((8, 1.0), (16, 1.0), (32, 2.0)):
        flow, vae = (cook(picture(side), {}, Dials(family=family))[0] for family in ("diffusion", "vae"))
        assert isinstance(flow, DiffusionOptions)
        assert isinstance(vae, VaeOptions)
        assert flow.guidance == vae.prior.guidance == guidance


def test_a_prior_of_few_pictures_does_not_see_every_word() -> None:
    for scarce, hide in ((True, 0.2), (False, 0.0)):
        options = cook(picture(32), {}, Dials(family="vae"), scarce=scarce)[0]
        assert isinstance(options, VaeOptions)
        assert options.prior.hide == hide
