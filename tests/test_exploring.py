"""Exploring: walks between seeds and directions in which pictures differ, the same each time and whatever is made beside them."""

import io
from pathlib import Path

import pytest
import torch
from PIL import Image
from shell import Shell
from tiny import SPACES, awaken, forms, model_of, quick

from karat.app.chain import open_store
from karat.app.films import film, strip
from karat.learning.families.family import Noise, Stream
from karat.material.trust import origin as origins
from karat.values.codecs.image import ImageCodec
from karat.values.given import Given
from karat.words.errors import KaratError
from karat.work.exploring import DIRECTIONS, Between, Moved, directions_of
from karat.work.generation import Ready, all_values, repeated
from karat.work.requests import Point, Retouch, Walk, request_of

SPACE = SPACES["image"]
MOVES = [form for form in forms() if form.startswith(("diffusion", "vae", "gan")) and "convnet" not in form]


def ready_of(form: str) -> Ready:
    codec = ImageCodec.load({"size": SPACE.shape, "mode": {1: "L", 3: "RGB", 4: "RGBA"}[SPACE.channels or 0]})
    return Ready(awaken(model_of(form, SPACE)), codec, {})


def made(ready: Ready, starts: list[object]) -> torch.Tensor:
    return all_values(ready.model, repeated(Given(), len(starts)), starts, quick(ready.model))  # type: ignore[arg-type]


def test_noise_turns_from_one_seed_to_the_other_at_its_own_length() -> None:
    first, last = (Stream((seed, 0)).normal((500,)) for seed in (3, 4))
    way = Noise([Between((3, 0), (4, 0), share / 4) for share in range(5)]).normal(500)
    assert torch.equal(way[0], first)
    assert torch.equal(way[4], last)
    lengths = way.norm(dim=1) / 500**0.5
    assert bool(((lengths - 1).abs() < 0.1).all()), "a straight line would be too short in the middle"
    steps = (way[1:] - way[:-1]).norm(dim=1)
    assert float(steps.max() / steps.min()) < 1.1


@pytest.mark.parametrize("form", MOVES)
def test_a_walk_begins_and_ends_at_the_pictures_of_its_seeds(form: str) -> None:
    ready = ready_of(form)
    way = made(ready, [Between((3, 0), (4, 0), share / 4) for share in range(5)])
    ends = made(ready, [(3, 0), (4, 0)])
    assert torch.equal(way[[0, 4]], ends)
    assert torch.equal(made(ready, [Between((3, 0), (4, 0), 0.25)])[0], way[1]), "whatever is made beside it"


@pytest.mark.parametrize("form", MOVES)
def test_directions_are_the_same_each_time_and_stand_upright(form: str) -> None:
    ready = ready_of(form)
    directions = directions_of(ready)
    count = min(DIRECTIONS, directions.shape[1])
    assert torch.allclose(directions @ directions.T, torch.eye(count), atol=1e-4)
    assert torch.equal(directions_of(ready), directions)
    plain = made(ready, [(1, 0)])
    assert torch.equal(made(ready, [Moved((1, 0), directions, (0.0, 0.0))]), plain)
    near, far = (made(ready, [Moved((1, 0), directions, (move,))]) for move in (0.1, 3.0))
    if "quantised" not in form:
        assert 0 < float((near - plain).norm()) < float((far - plain).norm())


def test_pixels_of_a_flow_differ_most_along_the_first_directions() -> None:
    ready = ready_of("diffusion/transformer")
    directions = directions_of(ready)
    starts = [(0, index) for index in range(256)]
    spread = (made(ready, starts).flatten(1) @ directions.T).std(0)
    assert float(spread[0]) == pytest.approx(float(spread.max()), rel=0.3)


def test_what_starts_from_no_noise_is_refused() -> None:
    with pytest.raises(KaratError, match="one id after the other"):
        directions_of(ready_of("autoregressive/transformer"))
    with pytest.raises(KaratError, match="diffusion, vae or gan"):
        made(ready_of("masked/transformer"), [Between((0, 0), (1, 0), 0.5)])


def test_requests_are_read_as_what_they_are() -> None:
    assert isinstance(request_of({"to": 3, "steps": 4, "first": 3}), Walk)
    assert isinstance(request_of({"moves": [1, -2]}), Point)
    assert isinstance(request_of({"picture": "0" * 64}), Retouch)
    with pytest.raises(KaratError, match="has no picture 4"):
        request_of({"to": 3, "steps": 4, "first": 4})


def test_the_command_walks(done: Shell) -> None:
    options = ["--walk", "3", "4", "--label", "square", "--steps", "2"]
    told = done.well("--json", "generate", "shapes:live", *options, "-n", "4", "-o", "way", "--sheet", "way.gif").lines
    paths = [Path(line["path"]) for line in told if line["kind"] == "made"]
    assert any(line.get("what") == "film" for line in told)
    with Image.open("way.gif") as gif:
        assert (gif.n_frames, gif.width >= 200) == (6, True)  # type: ignore[attr-defined]
        assert b"trainedAlgorithmicMedia" in gif.info["comment"]
    first = done.well("--json", "generate", "shapes:live", "--seed", "3", "--label", "square", "--steps", "2", "-o", "one").lines
    alone = next(Path(line["path"]) for line in first if line["kind"] == "made")
    with Image.open(alone) as one, Image.open(paths[0]) as begun:
        assert one.tobytes() == begun.tobytes()
    asset = next(line["asset"] for line in told if line["kind"] == "made" and line["index"] == 2)
    assert open_store(done.store).get(asset).spec["to"] == 4
    done.well("reproduce", asset, "-o", "again")
    row = strip([path.read_bytes() for path in paths])
    with Image.open(io.BytesIO(row)) as picture:
        assert picture.width == 4 * picture.height
    assert origins.read(row) is not None
    assert film([path.read_bytes() for path in paths])[:3] == b"GIF"
    assert "goes one way" in done.refused("generate", "shapes:live", "--walk", "3", "4", "--seed", "2")
