"""Pretrained bases: tiny ones of every kind go on with the same commands, resume to the bit, are released whole; bad ones are refused."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bases import KINDS, make_base
from shell import Shell
from test_training import after

from karat.app.exporting import export_release
from karat.app.releasing import load_release
from karat.app.training import Dials, plan
from karat.learning.families.going_on import PretrainedDecoder
from karat.learning.families.pretrained import Pretrained
from karat.learning.models import Model, ModelSpec
from karat.learning.nets.rounded import Bits, Rounded
from karat.material.releases.release import Release, write_release
from karat.material.releases.signing import SigningKey
from karat.store.store import Store
from karat.values.codecs.pretrained_text import PretrainedTextCodec
from karat.values.given import Given
from karat.values.passages import Passage, Turn
from karat.values.tensors import TensorFile, tensor_bytes
from karat.words.errors import Cancelled, DataError, KaratError, NotFoundError, ReleaseError, SpecError
from karat.words.events import Finished
from karat.work.bases import BaseFiles, bring_base
from karat.work.checkpoints import read_checkpoint, same_weights
from karat.work.codecs import load_codec
from karat.work.generation import Ready, all_values
from karat.work.orders import Order, WritingOptions
from karat.work.plans import RunSpec
from karat.work.runs import folder_of, run
from karat.work.writing import Writer

WRITERS = [kind for kind in KINDS if kind != "t5"]
ASKED = Turn(role="user", text="What do you like?")
CHAT = Passage(
    turns=(ASKED, Turn(role="assistant", text="I like red."), Turn(role="user", text="The sky?"), Turn(role="assistant", text="Blue."))
)
QUICK = {"plan.batch": 4, "plan.checks": 1, "plan.rate": 0.01, "made.length": 32}


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Give the folder of a tiny base of each kind."""
    folder = tmp_path_factory.mktemp("bases")
    return {kind: make_base(folder / kind, kind) for kind in KINDS}


@pytest.fixture(scope="module")
def chats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a store with a snapshot of short conversations."""
    from karat.faces.cli.entry import run as run_command

    folder = tmp_path_factory.mktemp("chats")
    rows = [{"prompt": f"What is {n}?", "completion": f"{n} is {'red' if n % 2 else 'blue'}."} for n in range(60)]
    (folder / "chats.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    for words in (
        ["data", "import", str(folder / "chats.jsonl"), "--licence", "CC0-1.0"],
        ["data", "snapshot", "latest", "--name", "chats"],
    ):
        assert run_command(["--store", str(folder / "store"), "--json", *words]) == 0
    return folder / "store"


@pytest.fixture
def store(chats: Path, tmp_path: Path) -> Store:
    return Store.open(shutil.copytree(chats, tmp_path / "store"))


def planned(store: Store, base: Path, steps: int = 3, **changes: Any) -> RunSpec:
    return plan(store, "chats", Dials(steps=steps, changes={**QUICK, **changes}), base=str(base))


def ended(store: Store, spec: RunSpec, **options: Any) -> tuple[RunSpec, bytes]:
    """Run to the end; give the spec in the record and the weights."""
    *_, last = run(store, spec, **options)
    assert isinstance(last, Finished)
    record = store.get(last.result)
    assert record.made is not None
    return RunSpec.from_values(record.spec), store.read(record.made)


def tensors_in(payload: bytes) -> dict[str, torch.Tensor]:
    return dict(TensorFile(lambda start, length: payload[start : start + length], len(payload)))


def model_from(base: BaseFiles, codec: PretrainedTextCodec, **options: Any) -> Model:
    """Give a model that has taken up its base's weights."""
    model = Model(ModelSpec.from_values({"space": codec.space, "family": {"kind": "pretrained", **base.settings[1], **options}}))
    model.start_from(base.tensors())
    return model.eval()


def codec_from(base: BaseFiles, **options: Any) -> PretrainedTextCodec:
    reading = {name: value for name, value in base.settings[0].items() if name != "kind"}
    return PretrainedTextCodec.fit({**reading, "length": 64, **options}, ["a text"])


@pytest.fixture
def opened(bases: dict[str, Path], tmp_path: Path) -> Iterator[dict[str, BaseFiles]]:
    """Give each base as it lies in a store."""
    store = Store.open(tmp_path / "own")
    return {kind: BaseFiles.open(store, bring_base(store, str(folder))) for kind, folder in bases.items()}


# ---- reading


@pytest.mark.parametrize("kind", WRITERS)
def test_exactly_the_answers_are_learnt(kind: str, opened: dict[str, BaseFiles]) -> None:
    codec = codec_from(opened[kind])
    ids, learnt = codec.written(CHAT)
    assert ids[-1] == 0
    assert 0 not in ids[:-1]
    parts = np.split(ids, np.flatnonzero(np.diff(learnt)) + 1)
    said = [
        codec.text(part.tolist()).strip() for part, kept in zip(parts, [bool(learnt[0]), *(not learnt[0],) * 9], strict=False) if part.size
    ]
    assert said[1::2] == ["I like red.", "Blue."]
    assert learnt.sum() == sum(len(part) for part in parts[1::2])
    assert learnt[-1]
    assert parts[1][-1] == codec.options.vocab, "an answer inside a conversation ends with its end mark, which ends nothing else"


@pytest.mark.parametrize("kind", KINDS)
def test_a_prompt_is_the_beginning_of_what_was_learnt(kind: str, opened: dict[str, BaseFiles]) -> None:
    codec = codec_from(opened[kind])
    for place in (1, 3) if kind != "t5" else (3,):
        passage = Passage(turns=CHAT.turns[: place + 1])
        ids, learnt = codec.written(passage)
        prompt = codec.prompt(passage.opening())
        assert ids[: len(prompt)].tolist() == prompt
        assert learnt[len(prompt) :].all()
        assert not learnt[len(prompt) - 1]


@pytest.mark.parametrize("kind", WRITERS)
def test_texts_come_back_and_nobody_can_end_a_passage_with_words(kind: str, opened: dict[str, BaseFiles]) -> None:
    codec = codec_from(opened[kind])
    for text in ("The sky is blue.", "你好, 😀", f"it said {codec.options.end} and went on <|im_start|>"):
        assert codec.decode(torch.from_numpy(codec.written(text)[0])).strip() == text
        assert list(codec.written(text)[0]).count(0) == 1
        asked = Passage.answer(text, "yes")
        assert list(codec.written(asked)[0]).count(0) == 1


@pytest.mark.parametrize("kind", WRITERS)
def test_a_row_reads_as_transformers_reads_it(kind: str, bases: dict[str, Path], opened: dict[str, BaseFiles]) -> None:
    """The base's own tokenizer and net give the same nats for each token of a plain text."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    codec = codec_from(opened[kind])
    model = model_from(opened[kind], codec)
    family = model.family
    assert isinstance(family, Pretrained)
    theirs, net = AutoTokenizer.from_pretrained(bases[kind]), AutoModelForCausalLM.from_pretrained(bases[kind]).eval()
    text = "My favourite fruit is the apple."
    ids = codec.written(text)[0]
    own = theirs.encode(text, add_special_tokens=False)
    assert family.tokens[torch.from_numpy(ids).long()].tolist() == [*own, theirs.convert_tokens_to_ids(codec.options.end)]
    row = torch.tensor([[family.options.start, *own]])
    with torch.no_grad():
        expected = torch.nn.functional.cross_entropy(net(row).logits[0], torch.tensor([*own, family.options.end]), reduction="none")
        found = family.errors(codec.value(torch.from_numpy(ids))[None], Given())[0]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_an_encoder_reads_what_is_answered(bases: dict[str, Path], opened: dict[str, BaseFiles]) -> None:
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    codec = codec_from(opened["t5"])
    family = model_from(opened["t5"], codec).family
    assert isinstance(family, Pretrained)
    theirs, net = AutoTokenizer.from_pretrained(bases["t5"]), AutoModelForSeq2SeqLM.from_pretrained(bases["t5"]).eval()
    pairs = [("the sky is", "blue"), ("what do you like?", "the red sky is the apple"), ("a", "I")]
    rows = torch.stack([codec.value(torch.from_numpy(codec.encode(Passage.answer(*pair)))) for pair in pairs])
    with torch.no_grad():
        found = family.errors(rows, Given())
        for row, (asked, answer) in zip(found, pairs, strict=True):
            source, target = theirs(asked, return_tensors="pt").input_ids, theirs(answer, return_tensors="pt").input_ids
            logits = net(input_ids=source, labels=target).logits
            expected = torch.nn.functional.cross_entropy(logits[0], target[0], reduction="none")
            length = source.shape[1]
            torch.testing.assert_close(row[length : length + target.shape[1]], expected, atol=1e-5, rtol=1e-5)
            assert not row[:length].any()
    longest = codec.encode(Passage.answer("the " * 200, "I like red"))
    assert codec.decode(torch.from_numpy(longest)) == "I like red"
    with pytest.raises(DataError, match="answers nothing"):
        codec.written("a text")


@pytest.mark.parametrize("kind", WRITERS)
def test_passages_in_a_row_do_not_see_each_other(kind: str, opened: dict[str, BaseFiles]) -> None:
    codec = codec_from(opened[kind])
    model = model_from(opened[kind], codec, apart=True)
    family = model.family
    assert isinstance(family, Pretrained)
    pieces = [codec.written(text)[0] for text in ("The sky is blue.", "yes", "I like red.")]
    with torch.no_grad():
        together = family.errors(torch.from_numpy(np.concatenate(pieces))[None].long(), Given())[0]
        alone = torch.cat([family.errors(torch.from_numpy(piece)[None].long(), Given())[0] for piece in pieces])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


# ---- training


@pytest.mark.parametrize("kind", KINDS)
def test_a_base_goes_on_is_released_and_makes_the_same(kind: str, store: Store, bases: dict[str, Path], tmp_path: Path) -> None:
    spec, payload = ended(store, planned(store, bases[kind]))
    assert [record.kind for record in store.ancestry(store.find("run")[0].id)].count("base") == 1
    ready = Ready.of(spec, tensors_in(payload), store.read)
    seeds = [(3, index) for index in range(3)]
    made = all_values(ready.model, Given(), seeds, {})
    ready.made.space.check(made)
    parts = {"model.safetensors": payload, "spec.json": spec.to_json().encode()}
    write_release(tmp_path / "one.karat", parts, key=SigningKey.at(tmp_path))
    again, _ = load_release(Release.open(tmp_path / "one.karat"))
    assert torch.equal(all_values(again.model, Given(), seeds, {}), made)
    assert torch.equal(all_values(again.model, Given(), seeds[1:2], {})[0], made[1])
    assert spec.model.family.kind == "pretrained"


@pytest.mark.parametrize(("kind", "adapter"), [("gpt2", "lora"), ("qwen3", "full"), ("t5", "lora")])
def test_a_stopped_run_ends_in_the_same_bits(kind: str, adapter: str, store: Store, bases: dict[str, Path], tmp_path: Path) -> None:
    changes = {"family.adapter.kind": adapter} | ({"family.adapter.dropout": 0.1} if adapter == "lora" else {})
    if adapter == "full":
        changes = {"family.adapter": {"kind": "full"}}
    spec = planned(store, bases[kind], steps=5, **changes)
    _, whole = ended(store, spec)
    other = Store.open(shutil.copytree(store.folder, tmp_path / "other", ignore=shutil.ignore_patterns("runs")))
    for count in (2, 1):
        with pytest.raises(Cancelled):
            list(run(other, spec, stop=after(count)))
    assert ended(other, spec)[1] == whole
    first, second = (read_checkpoint(folder_of(each, spec)) for each in (store, other))
    assert first is not None
    assert second is not None
    assert same_weights(first[0], second[0])


def test_lora_trains_its_factors_alone_and_merges_exactly(store: Store, bases: dict[str, Path]) -> None:
    for kind in KINDS:
        spec = planned(store, bases[kind], steps=4)
        base = BaseFiles.open(store, spec.base or "")
        _, payload = ended(store, spec)
        found = read_checkpoint(folder_of(store, spec))
        assert found is not None
        best = {name.removeprefix("best/"): value for name, value in found[0].items() if name.startswith("best/")}
        assert best
        assert all(".lora_" in name for name in best)
        model = Model(spec.model)
        model.start_from(base.tensors())
        trained = {name for name, _ in model.family.trained_in("next").named_parameters()}
        assert len(trained) == len(best)
        before = {name: tensor.clone() for name, tensor in model.finished(model.state_dict()).items()}
        model.load_weights(best)
        merged = Ready.of(spec, tensors_in(payload), store.read).model
        rows = torch.randint(1, 300, (2, 24), generator=torch.Generator().manual_seed(0))
        rows[:, 9] = 0
        with torch.no_grad():
            ours, theirs = (each.eval().family.errors(rows, Given()) for each in (model, merged))  # type: ignore[attr-defined]
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
        changed = [name for name, tensor in tensors_in(payload).items() if not torch.equal(tensor, before[name])]
        assert changed
        assert not any("embed" in name or "norm" in name or "wte" in name or "shared" in name for name in changed)


@pytest.mark.parametrize("bits", [8, 4])
def test_a_rounded_base_is_merged_as_it_was_trained_beside(bits: int, store: Store, bases: dict[str, Path]) -> None:
    for kind in ("gpt2", "t5"):
        spec = planned(store, bases[kind], steps=2, **{"family.adapter.bits": bits})
        _, payload = ended(store, spec)
        found = read_checkpoint(folder_of(store, spec))
        assert found is not None
        model = Model(spec.model)
        model.start_from(BaseFiles.open(store, spec.base or "").tensors())
        model.load_weights({name.removeprefix("best/"): value for name, value in found[0].items() if name.startswith("best/")})
        rows = torch.randint(1, 300, (2, 16), generator=torch.Generator().manual_seed(0))
        rows[:, 5] = 0
        merged = Ready.of(spec, tensors_in(payload), store.read).model
        with torch.no_grad():
            ours, theirs = (each.eval().family.errors(rows, Given()) for each in (model, merged))  # type: ignore[attr-defined]
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("bits", "most"), [(8, 0.01), (4, 0.12)])
def test_rounded_weights_lie_near_and_their_slopes_are_right(bits: Bits, most: float) -> None:
    generator = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(50, 70, generator=generator), torch.randn(50, generator=generator)
    layer = Rounded(weight, bias, bits)
    assert ((layer.weight - weight).abs().mean() / weight.abs().mean()) < most
    assert torch.equal(Rounded(layer.weight, bias, bits).weight, layer.weight), "rounding what is rounded changes nothing"
    x = torch.randn(3, 70, generator=generator, requires_grad=True)
    y = x.detach().clone().requires_grad_(True)
    layer(x).square().sum().backward()
    torch.nn.functional.linear(y, layer.weight, bias).square().sum().backward()
    torch.testing.assert_close(x.grad, y.grad)
    assert not layer.state_dict()


def test_full_training_moves_every_weight(store: Store, bases: dict[str, Path]) -> None:
    spec = planned(store, bases["llama"], steps=2, **{"family.adapter": {"kind": "full"}})
    _, payload = ended(store, spec)
    model = Model(spec.model)
    model.start_from(BaseFiles.open(store, spec.base or "").tensors())
    start = model.state_dict()
    assert all(not torch.equal(tensor, start[name]) for name, tensor in tensors_in(payload).items())


def test_the_loss_counts_the_answers_alone(store: Store, bases: dict[str, Path]) -> None:
    """And it falls: the answers are learnt."""
    spec = planned(store, bases["qwen3"], steps=60, **{"plan.rate": 0.01, "plan.checks": 3, "family.adapter": {"kind": "full"}})
    events = list(run(store, spec))
    scored = [event.figures["held-out loss"] for event in events if event.kind == "scored"]  # type: ignore[attr-defined]
    assert scored[-1] < 0.7 * np.log(512)
    codec = load_codec(spec.made, store.read)
    assert isinstance(codec, PretrainedTextCodec)
    model = model_from(BaseFiles.open(store, spec.base or ""), codec, apart=True)
    family = model.family
    assert isinstance(family, Pretrained)
    ids, learnt = codec.written(Passage.answer("What is 3?", "3 is red."))
    x, weight = torch.from_numpy(ids).long()[None], torch.from_numpy(learnt).float()[None]
    with torch.no_grad():
        loss = family.loss("next", x, Given(weight=weight), torch.Generator()).total
        each = family.errors(x, Given())[0, learnt]
    assert len(each) == len(codec.ids("3 is red.")) + 1
    torch.testing.assert_close(loss, each.mean())


# ---- from the command line, and what is refused


def test_the_command_line_names_the_base_on_the_chain(shell: Shell, chats: Path, bases: dict[str, Path]) -> None:
    shutil.copytree(chats, shell.store)
    folder = shutil.copytree(bases["gpt2"], shell.folder / "my-gpt2")
    told = shell.well("--json", "train", "chats", "--base", folder, "--steps", "2", "--set", "plan.checks=1", "--set", "made.length=32")
    shown = shell.well("show", told.result).out
    assert "my-gpt2: GPT2LMHeadModel, licence mit" in shown
    assert "does not go with a base" in shell.refused("train", "chats", "--base", folder, "--family", "diffusion")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda folder: shutil.rmtree(folder), "no folder"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer"),
        (lambda folder: (folder / "config.json").unlink(), "config.json"),
        (lambda folder: (folder / "config.json").write_text("[]"), "not JSON"),
        (lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"), "safetensors"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no weights"),
        (lambda folder: changed(folder, model_type="unheard-of", auto_map={"AutoConfig": "evil.Config"}), "does not know"),
        (lambda folder: changed(folder, architectures=["BertForMaskedLM"], model_type="bert"), "neither writes"),
        (lambda folder: changed(folder, vocab_size=100), "100 ids"),
        (lambda folder: changed(folder, "tokenizer_config.json", eos_token="<nobody>"), "<nobody>"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "tokenizer.json"),
        (lambda folder: changed(folder, "tokenizer_config.json", chat_template="always the same"), "each turn once"),
    ],
)
def test_bad_bases_are_refused(spoil: Any, says: str, bases: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(bases["gpt2"], tmp_path / "base")
    spoil(folder)
    with pytest.raises(KaratError, match=says) as caught:
        bring_base(Store.open(tmp_path / "store"), str(folder))
    assert caught.value.repair.endswith(".")


def changed(folder: Path, file: str = "config.json", **values: Any) -> None:
    (folder / file).write_text(json.dumps({**json.loads((folder / file).read_text()), **values}))


def test_weights_that_do_not_fit_are_refused(bases: dict[str, Path], tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    for name, spoil in (
        ("lacking", lambda t: t.pop("transformer.ln_f.weight")),
        ("short", lambda t: t.update({"transformer.ln_f.bias": torch.ones(7)})),
    ):
        folder = shutil.copytree(bases["gpt2"], tmp_path / name)
        tensors = tensors_in((folder / "model.safetensors").read_bytes())
        spoil(tensors)
        (folder / "model.safetensors").write_bytes(tensor_bytes(tensors))
        base = BaseFiles.open(store, bring_base(store, str(folder)))
        with pytest.raises(ReleaseError, match="ln_f"):
            model_from(base, codec_from(base))
    shard = shutil.copytree(bases["llama"], tmp_path / "cut")
    (shard / "model-00002-of-00004.safetensors").unlink()
    with pytest.raises(DataError, match="00002"):
        bring_base(store, str(shard))


def test_the_chain_names_no_place_of_this_machine(tmp_path: Path, bases: dict[str, Path]) -> None:
    """A release's lineage goes to strangers."""
    store = Store.open(tmp_path / "store")
    said = store.get(bring_base(store, str(bases["gpt2"]))).spec
    assert said["origin"] == f"folder:{bases['gpt2'].name}"
    assert "/" not in said["origin"]


def test_a_name_without_network_says_how_to_bring_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(NotFoundError, match="local cache") as caught:
        bring_base(Store.open(tmp_path / "store"), "karat-tests/nobody-has-this")
    assert "hf download karat-tests/nobody-has-this --local-dir nobody-has-this" in caught.value.repair


def test_rows_longer_than_the_base_reads_are_refused(store: Store, bases: dict[str, Path]) -> None:
    with pytest.raises(SpecError, match="128"):
        planned(store, bases["gpt2"], **{"made.length": 512})


def test_a_base_is_told_things_in_words_alone(opened: dict[str, BaseFiles]) -> None:
    codec = codec_from(opened["gpt2"])
    family = {"kind": "pretrained", **opened["gpt2"].settings[1]}
    with pytest.raises(SpecError, match="words alone"):
        Model(ModelSpec.from_values({"space": codec.space, "given": {"label": {"vocab": 3}}, "family": family}))


def test_a_template_that_refuses_a_role_says_so(opened: dict[str, BaseFiles]) -> None:
    codec = codec_from(opened["llama"])
    with pytest.raises(DataError, match="no system"):
        codec.written(Passage.answer("hi", "yes", system="Be kind."))


@pytest.mark.parametrize("kind", KINDS)
def test_writing_step_by_step_says_what_reading_says(kind: str, opened: dict[str, BaseFiles]) -> None:
    """Whatever rows are beside it, and after rows have changed places."""
    codec = codec_from(opened[kind])
    family = model_from(opened[kind], codec).family
    assert isinstance(family, Pretrained)
    decoder = PretrainedDecoder(family)
    prompts = [codec.prompt(Passage(turns=(ASKED,))), codec.prompt("The sky is"), codec.prompt("I")]
    answers = torch.randint(5, 300, (3, 4), generator=torch.Generator().manual_seed(0)).tolist()
    firsts = [decoder.begin(row, prompt, Given()) for row, prompt in enumerate(prompts)]
    found = [[first] for first in firsts]
    for place in range(3):
        for row, logits in enumerate(decoder.step([answer[place] for answer in answers])):
            found[row].append(logits)
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        x = torch.tensor([[*prompt, *answer[:3], 0]])
        with torch.no_grad():
            nats = family.errors(x, Given())[0, len(prompt) :]
        told = torch.stack([-logits.log_softmax(0)[id] for logits, id in zip(found[row], [*answer[:3], 0], strict=True)])
        torch.testing.assert_close(told, nats, atol=1e-4, rtol=1e-4)
        assert found[row][0][-1] == -torch.inf
    decoder.arrange([2, 2, 0])
    one, two, three = decoder.step([answers[2][3], answers[2][3], answers[0][3]])
    assert torch.equal(one, two)
    decoder.begin(0, [*prompts[0], *answers[0][:3]], Given())
    torch.testing.assert_close(decoder.step([answers[0][3]])[0], three, atol=1e-4, rtol=1e-4)


# ---- going out


@pytest.mark.parametrize("kind", KINDS)
def test_an_export_writes_what_karat_writes(kind: str, store: Store, bases: dict[str, Path], tmp_path: Path) -> None:
    """Loaded by transformers, with the tokenizer that lies beside it; CTranslate2 too, where it knows the base."""
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

    spec, payload = ended(store, planned(store, bases[kind]))
    parts = {"model.safetensors": payload, "spec.json": spec.to_json().encode()}
    write_release(tmp_path / "one.karat", parts, key=SigningKey.at(tmp_path))
    list(export_release(store, str(tmp_path / "one.karat"), tmp_path / "hf", to="hf"))
    ready, _ = load_release(Release.open(tmp_path / "one.karat"))
    writer = Writer(ready.model, ready.made)  # type: ignore[arg-type]
    family, codec = ready.model.family, ready.made
    assert isinstance(family, Pretrained)
    assert isinstance(codec, PretrainedTextCodec)
    tokenizer: Any = AutoTokenizer.from_pretrained(tmp_path / "hf")
    net = (AutoModelForSeq2SeqLM if kind == "t5" else AutoModelForCausalLM).from_pretrained(tmp_path / "hf").eval()
    for said in ("What is 3?", Passage(turns=(ASKED,))):
        if kind == "t5" and isinstance(said, str):
            continue
        order = Order(said, WritingOptions(temperature=0, most=8))
        made = writer.written([order])[0]
        if kind == "t5" or isinstance(said, str):
            asked = tokenizer(said if isinstance(said, str) else ASKED.text, return_tensors="pt")["input_ids"]
        else:
            messages = [{"role": "user", "content": ASKED.text}]
            asked = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)["input_ids"]
        row = net.generate(asked, attention_mask=torch.ones_like(asked), do_sample=False, max_new_tokens=8)[0].tolist()
        row = row[1:] if kind == "t5" else row[asked.shape[1] :]
        expected = family.tokens[torch.tensor(made.ids)].tolist()
        assert row[: len(expected)] == expected
        assert len(row) == len(expected) or row[len(expected)] == family.options.end
    list(export_release(store, str(tmp_path / "one.karat"), tmp_path / "half", to="hf", precision="bfloat16"))
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "half").dtype == torch.bfloat16 if kind != "t5" else True
    if kind in ("llama", "qwen3"):
        import ctranslate2

        list(export_release(store, str(tmp_path / "one.karat"), tmp_path / "ct2", to="ctranslate2"))
        tokens = tokenizer.convert_ids_to_tokens(asked[0])
        options = {"max_length": 8, "include_prompt_in_result": False, "end_token": tokenizer.eos_token}
        found = ctranslate2.Generator(str(tmp_path / "ct2"), intra_threads=1).generate_batch([tokens], **options)[0]
        assert found.sequences_ids[0] == expected
    with pytest.raises(SpecError, match="from scratch alone"):
        list(export_release(store, str(tmp_path / "one.karat"), tmp_path / "gguf", to="gguf"))
