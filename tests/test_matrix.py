"""Every modality × every family × every condition trains, samples inside its space, and samples the same after a release.

Enumerated from the registries: a new family or codec adds no test here.
"""

from typing import Any

import pytest
import torch
from tiny import CONDITIONS, SPACES, Toy, forms, given_of, model_of, quick, suits

from karat.learning.families.family import families
from karat.learning.models import Model, ModelSpec
from karat.material.releases import Release, SigningKey, write_release
from karat.values.spaces import Space
from karat.values.tensors import shapes_of, tensor_bytes
from karat.work.plans import TrainingPlan
from karat.work.training import begin, take_step

CELLS = [(form, modality) for form in forms() for modality, space in SPACES.items() if suits(form, space)]
SEEDS = [(5, index) for index in range(3)]


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    return SigningKey.at(tmp_path_factory.mktemp("keys"))


def test_every_family_is_in_the_matrix() -> None:
    """But the one that goes on from a base, which brings its own space."""
    assert {form.split("/")[0].removesuffix("-quantised") for form, _ in CELLS} == set(families) - {"pretrained"}
    assert {modality for _, modality in CELLS} == set(SPACES)


@pytest.mark.parametrize(("form", "modality"), CELLS)
def test_cell(form: str, modality: str, tmp_path: Any, key: SigningKey) -> None:
    for condition, given in CONDITIONS.items():
        model = model_of(form, SPACES[modality], given)
        train_two_steps(model, SPACES[modality], given)
        asked = given_of(given, len(SEEDS))
        made = model.made(asked, model.sampling(**quick(model)), SEEDS)
        assert len(made) == len(SEEDS)
        model.space.check(made)
        path = tmp_path / f"{condition}.karat"
        parts = {"model.safetensors": tensor_bytes(model.state_dict()), "spec.json": model.spec.to_json().encode()}
        write_release(path, parts, key=key)
        again = reloaded(Release.open(path, trusted_keys={key.id}))
        assert torch.equal(again.made(asked, again.sampling(**quick(again)), SEEDS), made)


def train_two_steps(model: Model, space: Space, given: dict[str, Space]) -> None:
    """Train by the real loop; before each step of an optimizer, each of its parameters has a finite gradient."""
    run = begin(model, TrainingPlan(steps=2, batch=3))
    looked = []

    def look(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        assert parameters
        assert all(parameter.grad is not None and bool(parameter.grad.isfinite().all()) for parameter in parameters)
        looked.append(optimizer)

    for optimizer in run.optimizers.values():
        optimizer.register_step_pre_hook(look)
    for _ in range(2):
        take_step(run, Toy(space, given))
    assert len(looked) == 2 * len(model.family.turns)
    trained = {id(parameter) for optimizer in looked for group in optimizer.param_groups for parameter in group["params"]}
    assert trained == {id(parameter) for parameter in model.parameters()}, "a parameter that no turn trains"


def reloaded(release: Release) -> Model:
    model = Model(ModelSpec.from_json(release.read("spec.json")), seed=1)
    release.check_tensors("model.safetensors", shapes_of(model.state_dict()))
    model.load_weights(dict(release.tensors()))
    return model
