"""Recipes: from few dials to a complete spec. One dial for the size; everything else follows from the space, the data and the budget.

The settings come from recorded runs (`benchmarks/`); `docs/log.md` says what was tried and did not help.
"""

from collections.abc import Callable, Mapping
from typing import Any

from karat.learning.families.autoencoder import LATENT_AXES
from karat.learning.families.family import FamilyOptions, families
from karat.learning.families.vae import REACH
from karat.learning.nets.nets import suits_convnet
from karat.values.augment import AugmentSpec
from karat.values.spaces import Space
from karat.words.errors import SpecError
from karat.words.registry import Registry
from karat.words.specs import Spec
from karat.work.devices import device_named, suited
from karat.work.optimizers import optimizers
from karat.work.plans import TrainingPlan
from karat.work.recipes.dials import Dials, Size

BATCH_TOKENS = 1024
"""Tokens of text in a step: in runs of minutes, many small steps learn more than few large ones."""
LITTLE = 16 * 16
"""Places of the largest grid that is learnt and followed as digits are."""
ALTERED = {"colour": 0.2, "flip": 0.5, "rotate": 10.0, "shift": 0.125}
"""How pictures are altered for a flow that is told so."""
HIDDEN = 0.2
"""The share of the words of captions that a VAE's prior does not see."""
GUIDANCE = 2.0
"""How strongly pictures larger than digits are kept to what they are told."""
FAR = {"steps": 12, "shift": 2.5, "guidance": GUIDANCE}
"""How a flow of larger pictures is followed."""
WIDTHS: dict[Size, int] = {"tiny": 16, "small": 32, "base": 64, "large": 128}


class Recipe(Spec):
    """How to learn: the family's options, the plan, the augmentation."""

    family: dict[str, Any]
    plan: dict[str, Any] = {}
    augment: dict[str, float] = {}


recipes: Registry[Callable[[Space, Mapping[str, Space], int], Recipe]] = Registry("recipe")


def cook(
    space: Space, given: Mapping[str, Space], dials: Dials, *, apart: bool = False, scarce: bool = False
) -> tuple[FamilyOptions, TrainingPlan, AugmentSpec]:
    """Give the complete options for making values of `space` under what is `given`; with `apart`, a row holds several passages.

    What is `scarce` is seen many times over: see `sheltered`.
    """
    family = dials.family or ("autoregressive" if space.is_ids else "diffusion")
    recipe = recipes[family](space, given, WIDTHS[dials.size])
    if apart and "apart" in families[family].Options.model_fields:
        recipe = recipe.changed(family={**recipe.family, "apart": True})
    if scarce:
        recipe = sheltered(recipe, family)
    home = device_named(str(dials.changes.get("plan.device", "auto")))
    at_home = suited(recipe.family.get("net", {}), home, half=space.positions > LITTLE)
    budget = {"steps": dials.steps} if dials.steps is not None else {"minutes": dials.minutes or 10.0}
    tree: dict[str, Any] = {
        "family": {"kind": family, **recipe.family},
        "plan": {**recipe.plan, **at_home, **budget, "seed": dials.seed},
        "augment": {"ops": recipe.augment},
    }
    for place, value in dials.changes.items():
        if place.partition(".")[0] not in tree or "." not in place:
            raise SpecError(f"There is nothing called {place!r} to change.", repair=f"Begin with one of: {'., '.join((*tree, 'made'))}.")
        change(tree, place, value)
    augmentation = AugmentSpec.from_values(tree["augment"])
    augmentation.check(given)
    options = families[family].Options.from_values(tree["family"])
    ops = {**augmentation.ops, **getattr(options, "augment", augmentation).ops}
    if ops and (space.is_ids or len(space.shape) != 2):
        raise SpecError(
            f"Augmentation by {', '.join(ops)} is for pictures.",
            repair="Leave it out; texts are altered beforehand: `karat data augment`.",
        )
    plan = TrainingPlan.from_values(tree["plan"])
    if family == "pretrained" and plan.lanes > 1:
        raise SpecError("A base draws all its chance from one stream, so it cannot learn in lanes.", repair="Leave plan.lanes at 1.")
    optimizers[plan.optimizer]  # refuses an unknown one before anything is spent
    return options, plan, augmentation


def sheltered(recipe: Recipe, family: str) -> Recipe:
    """Give a recipe in the form that does not learn a few texts or pictures by heart.

    A transformer learns with dropout and a strong decay of its weights, a flow's U-Net with dropout and from altered pictures as well, a
    VAE's prior without some of the words of captions.
    """
    net = recipe.family.get("net")
    if not isinstance(net, dict) or recipe.plan.get("optimizer") != "muon":
        return recipe
    if net["kind"] == "convnet":
        changes = {
            "diffusion": {"net": {**net, "dropout": 0.1}, "augment": {"ops": ALTERED}},
            "vae": {"prior": {**recipe.family.get("prior", {}), "hide": HIDDEN}},
        }
        return recipe.changed(family={**recipe.family, **changes.get(family, {})})
    plan = {**recipe.plan, "weight_decay": 0.5, "table_rate": 3.0, "passes": 32}
    return recipe.changed(family={**recipe.family, "net": {**net, "dropout": 0.2}}, plan=plan)


def change(tree: dict[str, Any], place: str, value: Any) -> None:
    """Set the value at a dotted place of a tree of mappings."""
    *parents, last = place.split(".")
    for name in parents:
        tree = tree.setdefault(name, {})
        if not isinstance(tree, dict):
            raise SpecError(f"{name!r} in {place} is a value, no group of settings.", repair=f"Set {place.rpartition('.')[0]} itself.")
    tree[last] = value


@recipes.add("diffusion")
def diffusion(space: Space, given: Mapping[str, Space], width: int) -> Recipe:
    """A flow: a U-Net for small grids, a transformer for the rest. The latents of rows spread over a third of their range.

    On larger grids than digits' a longer way that begins slowly leaves less grain, and guidance less confusion, in the same training.
    """
    reach = {"reach": REACH} if space.axes == LATENT_AXES else {}
    way = FAR if len(space.shape) == 2 and space.positions > LITTLE else {}
    return Recipe(family={"net": net_for(space, width), **reach, **way}, plan={"optimizer": "muon", "rate": 6e-3})


@recipes.add("vae")
def vae(space: Space, given: Mapping[str, Space], width: int) -> Recipe:
    """A Gaussian autoencoder with a flow as its prior.

    Latents of larger grids keep their places: one for the whole comes back blurred. They are held closer to the normal distribution than
    the one of a small grid, or they say more than the prior learns, and what it misses is seen as grain.
    """
    larger = is_larger_grid(space)
    whole, in_place = {"channels": 16, "beta": 0.5}, {"in_place": True, "channels": 8, "beta": 2.0}
    latent, way = (in_place, {"guidance": GUIDANCE}) if larger else (whole, {})
    prior = {"kind": "diffusion", "net": {"kind": "transformer", "width": 4 * width, "depth": 2}, "reach": REACH, **way}
    family = {"net": net_for(space, width, smooth=larger), **latent, "draws": 4, "prior": prior}
    return Recipe(family=family, plan={"optimizer": "muon", "rate": 6e-3})


@recipes.add("gan")
def gan(space: Space, given: Mapping[str, Space], width: int) -> Recipe:
    """A generator and a critic of one size, smooth on larger grids. Runs of hours on few samples want `family.augment.ops` as well."""
    net = net_for(space, width, smooth=is_larger_grid(space))
    return Recipe(family={"net": net, "critic": net}, plan={"optimizer": "adam", "rate": 5e-4, "decay": 0.5, "clip": 10.0})


@recipes.add("autoregressive")
def autoregressive(space: Space, given: Mapping[str, Space], width: int) -> Recipe:
    """A transformer over the ids, trained with Muon; chosen by its loss on held-out data where nothing better judges it."""
    net = {"kind": "transformer", "width": 4 * width, "depth": 4}
    if space.axes == ("token",) and not given:
        batch = max(4, min(64, BATCH_TOKENS // space.positions))
        plan = {"optimizer": "muon", "rate": 6e-3, "table_rate": 5.0, "batch": batch, "warmup": 20, "judged": 0}
        return Recipe(family={"net": net}, plan=plan)
    return Recipe(family={"net": net}, plan={"optimizer": "muon", "rate": 3e-3})


@recipes.add("masked")
def masked(space: Space, given: Mapping[str, Space], width: int) -> Recipe:
    """A transformer that fills gaps, trained with Muon; chosen by its bound on held-out data where nothing better judges it."""
    plan = {"optimizer": "muon", "rate": 6e-3, "decay": 0.8, **({"judged": 0} if space.axes == ("token",) else {})}
    return Recipe(family={"net": {"kind": "transformer", "width": 4 * width, "depth": 4}}, plan=plan)


@recipes.add("autoencoder")
def autoencoder(space: Space, given: Mapping[str, Space], width: int) -> Recipe:
    """Rows of ids squeezed into latents and a flow as their prior; chosen by what comes back of held-out rows."""
    net = {"kind": "transformer", "width": 4 * width, "depth": 2}
    prior = {"kind": "diffusion", "net": {"kind": "transformer", "width": 4 * width, "depth": 4}, "reach": REACH}
    return Recipe(family={"net": net, "prior": prior}, plan={"optimizer": "muon", "rate": 6e-3, "decay": 0.8, "judged": 0})


@recipes.add("pretrained")
def pretrained(space: Space, given: Mapping[str, Space], width: int) -> Recipe:
    """Factors beside all linear layers of a base (LoRA), at a rate ten times that of training every weight."""
    plan = {"optimizer": "adamw", "rate": 2e-4, "batch": 16, "warmup": 20, "average": 0.99, "judged": 0}
    return Recipe(family={"adapter": {"kind": "lora", "rank": 16, "alpha": 32}}, plan=plan)


def is_larger_grid(space: Space) -> bool:
    """Say whether convnets are the default and the grid is larger than digits' are."""
    return suits_convnet(space) and space.positions > LITTLE


def net_for(space: Space, width: int, *, smooth: bool = False) -> dict[str, Any]:
    """Give the default net: a convnet for small grids of numbers (folded when longer than 16), a transformer for everything else.

    Its attention stands on the coarsest of three grids; two see the whole of a picture anyway.
    """
    if not suits_convnet(space):
        return {"kind": "transformer", "width": 4 * width, "depth": 4}
    fold = 2 if max(space.shape) >= 32 else 1
    side = max(space.shape) // fold
    levels = (1, 2) if side <= 8 else (1, 2, 2)
    attention_at = 1 if side <= 8 else side // 4
    return {"kind": "convnet", "width": width, "levels": levels, "fold": fold, "attention_at": attention_at, "smooth": smooth}
