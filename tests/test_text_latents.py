"""Texts through latents: what comes back, what stands between two, and what is refused."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from sentences import Sentences, released, sentences, written
from shell import Shell
from tiny import awaken, model_of
from torch import Tensor

from karat.learning.families.autoencoder import RowAutoencoder
from karat.learning.models import Model
from karat.store.records import Record
from karat.values.codecs.latent import Autoencoder, LatentCodec
from karat.values.given import Given
from karat.values.spaces import Space
from karat.values.tensors import tensor_bytes
from karat.words.errors import SpecError
from karat.work.codecs import load_codec, through
from karat.work.generation import Ready
from karat.work.latents import GATE, between, doubts, exact_share, latents_of, media_of, reconstruction, steered
from karat.work.plans import FittedCodec, RunSpec, TrainingPlan

CAPTIONS = Path(__file__).parents[2] / "shared" / "data" / "emoji" / "metadata.jsonl"


def nothing(digest: str) -> bytes:
    raise AssertionError("no other weights are needed")


@pytest.fixture(scope="module")
def data() -> Sentences:
    return Sentences()


@pytest.fixture(scope="module")
def squeezed(data: Sentences, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunSpec, dict[str, Tensor]]:
    folder = tmp_path_factory.mktemp("autoencoder")
    return written("autoencoder", folder, data, steps=90, **{"family.net.depth": 1, "family.prior.net.depth": 1})


def test_unseen_sentences_come_back_exactly(squeezed: tuple[RunSpec, dict[str, Tensor]], data: Sentences) -> None:
    spec, weights = squeezed
    model = Model(spec.model)
    share = reconstruction(model, weights, data.held_out())["reconstructed"]
    assert share >= GATE
    assert share == exact_share(model, data.held_out())
    figures = model.family.held_out(data.rest, Given(), torch.Generator().manual_seed(0))
    assert float(figures["exact"].mean()) == pytest.approx(share)


def test_latents_lie_in_their_space_and_a_latent_codec_brings_texts_back(
    squeezed: tuple[RunSpec, dict[str, Tensor]], data: Sentences
) -> None:
    spec, weights = squeezed
    run = Record(id="1" * 64, kind="run", at=0.0, made="2" * 64, made_from=(), spec=spec.model_dump(mode="json"), facts={})
    codec = load_codec(through(run), lambda digest: tensor_bytes(weights))
    assert isinstance(codec, LatentCodec)
    latents = torch.stack([codec.value(torch.from_numpy(codec.encode(text))) for text in data.texts[:20]])
    codec.space.check(latents)
    assert 0.2 < float(latents.std()) < 0.4
    back = [codec.decode(latent) for latent in latents]
    assert sum(text == other for text, other in zip(data.texts, back, strict=False)) >= 18


def test_a_way_leads_from_one_text_to_the_other(squeezed: tuple[RunSpec, dict[str, Tensor]], data: Sentences) -> None:
    spec, weights = squeezed
    ready = Ready.of(spec, weights, nothing)
    first, last = latents_of(ready, ["the red fox sleeps here", "the blue whale swims below"])
    way = between(first, last, 5)
    assert torch.allclose(way[0], first, atol=1e-5)
    assert torch.allclose(way[-1], last, atol=1e-5)
    texts = media_of(ready, way)
    assert (texts[0], texts[-1]) == ("the red fox sleeps here", "the blue whale swims below")
    assert len(set(texts)) > 2


def test_steering_turns_the_word_that_the_groups_differ_by(squeezed: tuple[RunSpec, dict[str, Tensor]], data: Sentences) -> None:
    spec, weights = squeezed
    ready = Ready.of(spec, weights, nothing)
    red = [text for text in sentences(700) if " red " in text][:60]
    blue = [text.replace(" red ", " blue ") for text in red]
    asked = [text for text in sentences(900)[700:] if " red " in text]
    moved = steered(latents_of(ready, asked), latents_of(ready, blue), latents_of(ready, red), 1.0)
    turned = [text.replace(" red ", " blue ") for text in asked]
    assert sum(a == b for a, b in zip(media_of(ready, moved), turned, strict=True)) >= 0.8 * len(asked)


def test_a_run_below_the_gate_is_warned_of(squeezed: tuple[RunSpec, dict[str, Tensor]]) -> None:
    def run(share: float | None) -> Record:
        figures = {} if share is None else {"reconstructed": share}
        return Record(id="1" * 64, kind="run", at=0.0, made=None, made_from=(), spec={}, facts={"figures": figures})

    assert "80%" in next(doubts([run(0.8)])).message
    assert list(doubts([run(GATE), run(None)])) == []


def test_only_what_has_latents_is_gone_through() -> None:
    space = Space(axes=("token",), shape=(6,), vocab=9)
    assert isinstance(model_of("autoencoder/transformer", space).family, Autoencoder)
    model = model_of("masked/transformer", space)
    spec = RunSpec(snapshot="0" * 64, made=FittedCodec(kind="text", state={}), model=model.spec, plan=TrainingPlan(steps=1))
    run = Record(id="1" * 64, kind="run", at=0.0, made="2" * 64, made_from=(), spec=spec.model_dump(mode="json"), facts={})
    with pytest.raises(SpecError, match="no latents"):
        through(run)
    assert reconstruction(model, model.state_dict(), iter(())) == {}
    with pytest.raises(SpecError, match="no latents"):
        exact_share(model, [])


@pytest.mark.parametrize("positions", [1, 5, 6])
@torch.no_grad()
def test_rows_of_any_length_are_folded(positions: int) -> None:
    space = Space(axes=("token",), shape=(positions,), vocab=7)
    family = awaken(model_of("autoencoder/transformer", space)).family
    assert isinstance(family, RowAutoencoder)
    values = space.random(3, torch.Generator().manual_seed(0))
    latents = family.to_latents(values)
    family.latents.check(latents)
    assert latents.shape[1] == -(-positions // 2)
    space.check(family.from_latents(latents))


def test_edit_between_two_texts_makes_assets(squeezed: tuple[RunSpec, dict[str, Tensor]], shell: Shell, tmp_path: Path) -> None:
    path = released(tmp_path, *squeezed)
    words = ("edit", path, "--between", "the red fox sleeps here", "the blue whale swims below", "--steps", "4")
    told = shell.well("--json", *words, "-o", "way").lines
    texts = [line["text"] for line in told if line["kind"] == "wrote"]
    assert texts[0] == "the red fox sleeps here"
    assert len(texts) == 4
    assert [file.read_text() for file in sorted(Path("way").glob("*.txt"))] == texts
    shell.well("reproduce", next(line["asset"] for line in told if line["kind"] == "made" and line["index"] == 2), "-o", "same")
    assert "no effect" in shell.refused(*words, "--seed", "3")
    shell.refused("edit", path, "--text", "the red fox", "--toward", "blue")  # the data is not in this store
    assert "fill gaps" in shell.refused("edit", path, "--text", "the ___ fox")


@pytest.mark.slow
@pytest.mark.skipif(not CAPTIONS.exists(), reason="the captions are not here")
@pytest.mark.parametrize("column", ["text", "text_zh"])
def test_unseen_captions_pass_the_gate(column: str, tmp_path: Path) -> None:
    """Variants of one text (skin tones) stay on one side."""

    def order(text: str) -> tuple[bytes, str]:
        return hashlib.sha256(text.replace("：", ":").partition(":")[0].encode()).digest(), text

    lines = CAPTIONS.read_text(encoding="utf-8").splitlines()
    texts = sorted({text for line in lines if (text := json.loads(line).get(column))}, key=order)
    data = Sentences(texts, vocab=1024, held=300)
    changes = {"family.net.width": 128, "family.prior.net.depth": 1}
    spec, weights = written("autoencoder", tmp_path, data, steps=400, **changes)
    assert reconstruction(Model(spec.model), weights, data.held_out())["reconstructed"] >= GATE
