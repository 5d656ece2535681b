"""Filling gaps: what is kept stays, what is said of nats is a bound of what the model really gives."""

import json
from itertools import permutations, product
from math import exp, log
from pathlib import Path

import pytest
import torch
from hypothesis import given as examples
from hypothesis import strategies as st
from sentences import WORDS, Sentences, released, written
from shell import Shell
from tiny import SPACES, TRANSFORMER, awaken, given_of, model_of
from torch import Tensor

from karat.learning.families.masked import Masked, MaskedOptions, MaskedSampling
from karat.learning.models import Model
from karat.values.codecs.label import LabelCodec
from karat.values.given import Given
from karat.values.spaces import Space
from karat.words.errors import SpecError
from karat.work.editing import Edit, edited
from karat.work.generation import Ready, all_values

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
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, betas=(0.9, 0.95))
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


def test_an_id_may_be_ruled_out() -> None:
    model = masked(SPACES["text"])
    made = model.made(Given(), MaskedSampling(), SEEDS)
    unwanted = int(made[0, 0])
    again = model.made(Given(), MaskedSampling(bias={unwanted: -1e4}), SEEDS)
    assert not bool((again == unwanted).any())


def test_at_temperature_nought_only_the_order_is_drawn() -> None:
    model = masked(SPACES["text"])
    surely = MaskedSampling(temperature=0, order="sure")
    made = model.made(Given(), surely, SEEDS)
    assert bool((made == made[0]).all())
    assert MaskedOptions().net.width > TRANSFORMER.width


# ---- editing texts


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("masked")
    return released(folder, *written("masked", folder, Sentences(), steps=250, **{"family.net.depth": 2}))


@pytest.fixture(scope="module")
def ready(release: Path) -> Ready:
    from karat.app.releasing import load_release
    from karat.material.releases.release import Release

    return load_release(Release.open(release))[0]


@pytest.mark.parametrize(
    ("text", "kind"), [("the red ___ sleeps here", "who"), ("the ___ fox sings above", "how"), ("the blue whale runs ___", "where")]
)
def test_a_blank_is_filled_with_a_word_that_fits(ready: Ready, text: str, kind: str) -> None:
    before, after = text.split("___")
    filled = [edited(ready, Edit(text=text, seed=seed)) for seed in range(6)]
    words = [each.removeprefix(before).removesuffix(after) for each in filled]
    assert all(each == before + word + after for each, word in zip(filled, words, strict=True))
    assert sum(word in WORDS[kind] for word in words) >= 5, filled
    assert len(set(words)) > 1


def test_the_same_edit_gives_the_same_text_and_a_span_is_written_anew(ready: Ready) -> None:
    edit = Edit(text="the golden heron waits nearby", spans=((11, 16),), seed=1)
    texts = {edited(ready, edit.changed(first=index)) for index in range(8)}
    assert edited(ready, edit) in texts
    assert all(text.startswith("the golden ") and text.endswith(" waits nearby") for text in texts)
    assert len(texts) > 2
    twice = Edit(text="the ___ otter ___ inside", seed=2)
    assert edited(ready, twice) == edited(ready, twice)
    assert len(edited(ready, twice).split()) == 5


def test_what_cannot_be_edited_is_refused(ready: Ready) -> None:
    with pytest.raises(SpecError, match="nothing to fill"):
        edited(ready, Edit(text="the red fox"))
    for spans in (((2, 90),), ((5, 2),), ((0, 5), (3, 8))):
        with pytest.raises(SpecError, match="spans"):
            edited(ready, Edit(text="the red fox", spans=spans))
    with pytest.raises(SpecError, match="tokens longer"):
        edited(ready, Edit(text="the ___ fox", tokens=400))
    with pytest.raises(SpecError, match="tokens longer"):
        edited(ready, Edit(text="the fox " * 50 + "___"))
    with pytest.raises(SpecError, match="no condition"):
        edited(ready, Edit(text="the ___ fox", given={"label": "a"}))


@examples(text=st.text(alphabet="ab _", max_size=30), ends=st.lists(st.integers(0, 30), max_size=4))
def test_pieces_and_gaps_make_up_the_text(text: str, ends: list[int]) -> None:
    spans = tuple(zip(ends[::2], ends[1::2], strict=False))
    try:
        pieces = Edit(text=text, spans=spans).pieces()
    except SpecError:
        return
    if spans:
        gone = [text[first:last] for first, last in sorted(spans)]
        assert "".join(part for pair in zip(pieces, [*gone, ""], strict=True) for part in pair) == text
    else:
        assert len(pieces) > 1
        assert text.startswith(pieces[0])
        assert text.endswith(pieces[-1])


def test_the_command_makes_assets_that_say_where_they_come_from(release: Path, shell: Shell) -> None:
    told = shell.well("--json", "edit", release, "--text", "the red ___ sleeps here", "-n", "2", "--seed", "4", "-o", "edited").lines
    made = [line for line in told if line["kind"] == "made"]
    assert [line["kind"] for line in told][-1] == "finished"
    assert len(made) == 2
    path = Path(made[0]["path"])
    assert path.read_text().startswith("the red ")
    assert json.loads(path.with_name(path.name + ".karat.json").read_text())["origin"]["seed"] == 4
    record = json.loads(shell.well("--json", "show", made[0]["asset"]).out)["record"]
    assert record["spec"]["text"] == "the red ___ sleeps here"
    shell.well("reproduce", made[1]["asset"], "-o", "same")
    again = shell.well("--json", "edit", release, "--text", "the red ___ sleeps here", "--seed", "4", "-o", "again").lines
    assert [line["asset"] for line in again if line["kind"] == "made"] == [made[0]["asset"]]
    assert "nothing to fill" in shell.refused("edit", release, "--text", "the red fox")
    assert "FIRST:LAST" in shell.refused("edit", release, "--text", "the red fox", "--span", "a:b")
    assert "no latents" in shell.refused("edit", release, "--between", "the red fox", "the blue fox")
    assert "no effect" in shell.refused("edit", release, "--text", "the ___ fox", "--strength", "2")
