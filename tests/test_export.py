"""An exported language model writes what Karat's own writes, id for id, in the program that it was exported for; a changed weight shows."""

import copy
import importlib.util
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import SPACES, awaken, codec_of, model_of

from karat.app.chain import show
from karat.app.engines import EngineSpec, figures_of, precision_of
from karat.app.exporting import export_release
from karat.app.releasing import open_release
from karat.learning.models import Model, ModelSpec
from karat.material.data.packing import fitted, streamed
from karat.material.releases import SigningKey, write_release
from karat.store.store import Store
from karat.values.codecs.text import TextCodec
from karat.values.given import Given
from karat.values.passages import Passage
from karat.values.tensors import tensor_bytes
from karat.words.errors import NotFoundError, SpecError, StoreError
from karat.work.engines import engine
from karat.work.engines.engine import Probe, fastest, measure
from karat.work.engines.own import OwnEngine
from karat.work.export import onnx_graph
from karat.work.export.language import LanguageModel, exporters
from karat.work.generation import Ready
from karat.work.plans import FittedCodec, RunSpec, TrainingPlan

THINGS = ["fox", "whale", "heron", "stone", "river", "colour", "lamp", "book"]
TEXTS = [f"The {thing} is {how}, isn't it?\nI saw 12 of  them." for thing in THINGS for how in ("red", "blue", "old")]
TALKS = [
    Passage.answer(f"{thing}是什么？", f"{thing}是{how}的。", system="请回答")
    for thing in ("狐狸", "鲸鱼", "石头")
    for how in ("红", "蓝", "老")
]
FORMS = {
    "bpe": {"units": "bpe", "vocab": 300, "packing": "stream"},
    "characters": {"units": "characters", "packing": "whole"},
    "untaught": {"units": "bytes", "packing": "stream"},
}
"""Codecs of three models. The third has random weights, and one head of an odd width."""
NEW = 16
Writer = Callable[[Sequence[list[int]]], list[list[int]]]


@cache
def taught(form: str) -> Ready:
    """Give a tiny model that has learnt its texts a little, so that it is sure of what comes next."""
    passages: list = TALKS if form == "characters" else TEXTS
    codec = TextCodec.fit({**FORMS[form], "length": 48}, passages)
    pieces = [codec.written(passage) for passage in passages]
    rows, weights = zip(*(fitted if form == "characters" else streamed)(pieces, codec.length), strict=True)
    net = {"kind": "transformer", "width": 40 if form == "untaught" else 64, "depth": 2}
    family = {"kind": "autoregressive", "net": net, "apart": form == "characters"}
    model = awaken(Model(ModelSpec.from_values({"space": codec.space, "family": family})))
    ids, given = torch.from_numpy(np.stack(rows)).long(), Given(weight=torch.from_numpy(np.stack(weights)).float())
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(0 if form == "untaught" else 40):
        optimizer.zero_grad()
        model.family.loss("next", ids, given, torch.Generator()).total.backward()
        optimizer.step()
    return Ready(model.eval(), codec, {})


@pytest.fixture(scope="module", params=list(FORMS))
def ready(request) -> Ready:
    return taught(request.param)


def prompts_of(ready: Ready) -> list[list[int]]:
    """Give 20 prompts of four lengths; the first is empty."""
    texts = [talk.plain() for talk in TALKS] * 3 if ready.made.options.units == "characters" else TEXTS
    return [ready.made.ids(text)[: (0, 3, 7, 12)[place % 4]] for place, text in enumerate(texts[:20])]


def own(ready: Ready) -> Writer:
    """Give Karat's own greedy writing, in its plainest form: the whole row anew for every id."""

    def write(prompts: Sequence[list[int]]) -> list[list[int]]:
        made = []
        for prompt in prompts:
            ids = list(prompt)
            while len(ids) < len(prompt) + NEW and not set(ids[len(prompt) :]) & set(LanguageModel.of(ready).ends):
                with torch.inference_mode():
                    logits = ready.model.family.net(torch.tensor([[*ids, 0]]), Given())[0, -1]
                first, second = logits.topk(2).values
                assert first - second > 1e-4, "the test needs a model that is sure"
                ids.append(int(logits.argmax()))
            made.append(until_end(ids[len(prompt) :], ready))
        return made

    return write


def until_end(ids: Sequence[int], ready: Ready) -> list[int]:
    ends = LanguageModel.of(ready).ends
    return list(ids)[: next((place for place, id in enumerate(ids) if id in ends), len(ids))]


def by_transformers(folder: Path, ready: Ready, **options) -> Writer:
    """Load with transformers, which ends where the folder's own generation config says."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, **options).eval()

    def write(prompts: Sequence[list[int]]) -> list[list[int]]:
        made = []
        for prompt in prompts:
            ids = torch.tensor([[0, *prompt]])
            with torch.inference_mode():
                row = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=NEW, top_k=None)
            made.append(until_end(row[0, ids.shape[1] :].tolist(), ready))
        return made

    return write


def by_gguf(folder: Path, ready: Ready) -> Writer:
    """Load with llama.cpp where it is installed, else with the reader of GGUF in transformers.

    llama.cpp keeps keys and values in float16 unless told otherwise (type 0 is float32), which can tip what is nearly even.
    """
    if importlib.util.find_spec("llama_cpp") is None:
        from transformers import Qwen3Config

        exporters["hf"].write(LanguageModel.of(ready), folder, "float32")
        config = Qwen3Config.from_pretrained(folder)
        (folder / "model.safetensors").unlink()
        return by_transformers(folder, ready, gguf_file="model.gguf", config=config)
    from llama_cpp import Llama

    model = Llama(str(folder / "model.gguf"), n_ctx=ready.made.length, n_threads=1, type_k=0, type_v=0, verbose=False)

    def write(prompts: Sequence[list[int]]) -> list[list[int]]:
        made = []
        for prompt in prompts:
            ids = [id for id, _ in zip(model.generate([0, *prompt], temp=0.0, top_k=1, repeat_penalty=1.0), range(NEW), strict=False)]
            made.append(until_end(ids, ready))
        return made

    return write


def by_ctranslate2(folder: Path, ready: Ready) -> Writer:
    import ctranslate2

    generator = ctranslate2.Generator(str(folder), intra_threads=1)
    names = json.loads((folder / "vocabulary.json").read_text())
    ends = [names[id] for id in LanguageModel.of(ready).ends]

    def write(prompts: Sequence[list[int]]) -> list[list[int]]:
        options = {"max_length": NEW, "include_prompt_in_result": False, "end_token": ends}
        made = [generator.generate_batch([[names[id] for id in (0, *prompt)]], **options) for prompt in prompts]
        return [result.sequences_ids[0] for (result,) in made]

    return write


def by_onnxruntime(folder: Path, ready: Ready) -> Writer:
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    heads, width = LanguageModel.of(ready).heads, LanguageModel.of(ready).head_width

    def write(prompts: Sequence[list[int]]) -> list[list[int]]:
        """Write all at once: shorter prompts are filled up on the left with positions that the mask hides."""
        longest = max(map(len, prompts)) + 1
        ids = np.array([[0] * (longest - len(prompt)) + list(prompt) for prompt in prompts])
        mask = np.array([[0] * (longest - 1 - len(prompt)) + [1] * (len(prompt) + 1) for prompt in prompts])
        past = [np.zeros((len(prompts), heads, 0, width), np.float32)] * (len(names) - 3)
        made = np.empty((len(prompts), 0), int)
        for _ in range(NEW):
            places = (mask.cumsum(1) - 1).clip(0)[:, -ids.shape[1] :]
            logits, *past = session.run(None, dict(zip(names, [ids, mask, places, *past], strict=True)))
            ids = logits[:, -1:].argmax(-1)
            made, mask = np.concatenate([made, ids], 1), np.concatenate([mask, np.ones_like(ids)], 1)
        return [until_end(row, ready) for row in made.tolist()]

    return write


RUNTIMES = {"hf": by_transformers, "gguf": by_gguf, "ctranslate2": by_ctranslate2, "onnx": by_onnxruntime}


def written(language: LanguageModel, to: str, folder: Path, precision: str = "float32") -> Path:
    folder.mkdir()
    exporters[to].write(language, folder, precision)
    return folder


def test_every_format_has_a_runtime_here():
    assert set(RUNTIMES) == set(exporters)


@pytest.mark.parametrize("to", RUNTIMES)
def test_the_same_ids_as_karats_own_and_a_changed_weight_shows(ready, to, tmp_path):
    language, prompts = LanguageModel.of(ready), prompts_of(ready)
    expected = own(ready)(prompts)
    assert RUNTIMES[to](written(language, to, tmp_path / "same"), ready)(prompts) == expected
    name = "model.layers.1.self_attn.q_norm.weight"
    changed = replace(language, weights={**language.weights, name: -3 * language.weights[name].flip(0)})
    assert RUNTIMES[to](written(changed, to, tmp_path / "changed"), ready)(prompts) != expected


@pytest.mark.parametrize(("precision", "error"), [("float32", 0), ("bfloat16", 2**-8), ("int8", 2**-7)])
def test_every_weight_reaches_the_gguf_reader(ready, precision, error, tmp_path):
    import gguf

    language = LanguageModel.of(ready)
    reader = gguf.GGUFReader(written(language, "gguf", tmp_path / "gguf", precision) / "model.gguf")
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN3, language.depth)
    read = {tensor.name: gguf.quants.dequantize(tensor.data, tensor.tensor_type) for tensor in reader.tensors}
    assert len(read) == len(language.weights)
    for name, weight in language.weights.items():
        off = np.abs(read[names.get_name(name, try_suffixes=(".weight",))] - weight.numpy()).max()
        assert off <= error * weight.abs().max()
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    assert len(tokens) == language.vocab
    assert reader.fields["tokenizer.ggml.bos_token_id"].contents() == 0


def test_an_export_leaves_the_model_as_it_was(ready, tmp_path):
    before = {name: weight.clone() for name, weight in ready.model.state_dict().items()}
    for to, exporter in exporters.items():
        for precision in exporter.precisions:
            written(LanguageModel.of(ready), to, tmp_path / f"{to}-{precision}", precision)
    assert all(torch.equal(weight, before[name]) for name, weight in ready.model.state_dict().items())


def test_weights_too_large_for_a_graph_lie_beside_it(ready, tmp_path, monkeypatch):
    language, prompts = LanguageModel.of(ready), prompts_of(ready)
    monkeypatch.setattr(onnx_graph, "LARGEST", 0)
    folder = written(language, "onnx", tmp_path / "onnx")
    assert (folder / "model.onnx").stat().st_size < 100_000 < (folder / "model.onnx.data").stat().st_size
    assert by_onnxruntime(folder, ready)(prompts) == own(ready)(prompts)


@pytest.mark.parametrize(("to", "precision"), [(to, each) for to, exporter in exporters.items() for each in exporter.precisions[1:]])
def test_fewer_bits_for_each_number_make_a_smaller_file(ready, to, precision, tmp_path):
    language = LanguageModel.of(ready)
    wide, narrow = (written(language, to, tmp_path / each, each) for each in ("float32", precision))
    biggest = [max(path.stat().st_size for path in folder.iterdir()) for folder in (wide, narrow)]
    assert biggest[1] < 0.8 * biggest[0]
    if (to, precision) == ("hf", "bfloat16"):
        from transformers import AutoModelForCausalLM

        assert AutoModelForCausalLM.from_pretrained(narrow).dtype == torch.bfloat16


def test_transformers_reads_texts_and_conversations_as_karat_does(ready, tmp_path):
    from transformers import AutoTokenizer

    codec, folder = ready.made, written(LanguageModel.of(ready), "hf", tmp_path / "hf")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for text in (*TEXTS[:3], TALKS[0].plain(), "e\u0301 and é, 12 34\n\n  €", ""):
        ids = tokenizer(text)["input_ids"]
        assert ids == [0, *codec.ids(text)]
        assert tokenizer.decode(ids, skip_special_tokens=True) == codec.text(codec.ids(text))
    assert (tokenizer.chat_template is not None) == (codec.options.packing == "whole")
    if tokenizer.chat_template:
        opening = TALKS[0].opening()
        messages = [{"role": turn.role, "content": turn.text} for turn in opening.turns]
        ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        assert ids == [0, *codec.prompt(opening)]


@pytest.fixture(scope="module")
def released(tmp_path_factory) -> Path:
    """Give a release file of a text model."""
    folder, ready = tmp_path_factory.mktemp("released"), taught("bpe")
    made = FittedCodec(kind="text", state=ready.made.state())
    spec = RunSpec(snapshot="0" * 64, made=made, model=ready.model.spec, plan=TrainingPlan(steps=1))
    parts = {
        "model.safetensors": tensor_bytes(ready.model.state_dict()),
        "spec.json": spec.to_json().encode(),
        "card.md": b'---\nlicense: "CC0-1.0"\n---\n# Writer\n',
        "lineage.json": b'{"licences":{"CC0-1.0":["texts"]},"records":[]}',
    }
    write_release(folder / "writer.karat", parts, key=SigningKey.at(folder), facts={"title": "Writer"})
    return folder / "writer.karat"


def test_the_command_writes_a_folder_that_says_where_it_comes_from(shell, released):
    told = shell.well("export", released, "--to", "hf", "-o", "out", "--json")
    out, store = shell.folder / "out", Store.open(shell.store)
    assert (out / "README.md").read_bytes().startswith(b"---\nlicense")
    assert json.loads((out / "lineage.json").read_text())["licences"] == {"CC0-1.0": ["texts"]}
    chain = show(store, told.result)
    assert (chain.record.kind, chain.came_from[0].kind) == ("export", "release")
    assert json.loads((out / "karat.json").read_text())["release"] == store.get(chain.came_from[0].id).spec["digest"]
    assert set(chain.record.facts["files"]) == {path.name for path in out.iterdir()}
    assert show(store, str(out / "model.safetensors")).record.id == told.result
    assert "hf in float32" in chain.about
    assert "proved" in shell.well("verify", out / "model.safetensors").out
    (out / "model.safetensors").write_bytes((out / "model.safetensors").read_bytes()[:-1] + b"!")
    assert shell("verify", out / "model.safetensors").code == 5
    assert shell.well("export", released, "--to", "hf", "-o", "again", "--json").result == told.result


def test_what_cannot_be_exported_is_refused_with_the_reason(shell, released, tmp_path, monkeypatch):
    store = Store.open(shell.store)
    assert "There is no format called 'pdf'" in shell.refused("export", released, "--to", "pdf", "-o", "out")
    assert "does not keep numbers as int8" in shell.refused("export", released, "--to", "onnx", "--precision", "int8", "-o", "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    with pytest.raises(StoreError, match="exists already"):
        list(export_release(store, str(released), tmp_path / "full", to="hf"))
    monkeypatch.setitem(__import__("sys").modules, "gguf", None)
    with pytest.raises(NotFoundError, match="needs the library gguf"):
        list(export_release(store, str(released), tmp_path / "out", to="gguf"))
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))


def test_only_language_models_of_this_shape_are_exported():
    text = codec_of("text")
    for ready, reason in (
        (Ready(model_of("autoregressive/transformer", SPACES["image"]), codec_of("image"), {}), "makes images"),
        (Ready(model_of("diffusion/transformer", text.space), text, {}), "family diffusion"),
        (
            Ready(
                model_of("autoregressive/transformer", text.space, {"label": codec_of("label").space}), text, {"label": codec_of("label")}
            ),
            "label",
        ),
    ):
        with pytest.raises(SpecError, match=reason):
            LanguageModel.of(ready)


def test_gguf_refuses_a_vocabulary_that_it_would_misread(tmp_path):
    codec = TextCodec.fit({"units": "characters", "packing": "stream", "length": 8}, ["a ▁ b"])
    model = Model(ModelSpec.from_values({"space": codec.space, "family": {"kind": "autoregressive", "net": {"width": 16, "depth": 1}}}))
    with pytest.raises(SpecError, match="reads as a space"):
        written(LanguageModel.of(Ready(model, codec, {})), "gguf", tmp_path / "gguf")


def test_engines_are_measured_and_the_fastest_faithful_one_is_used(shell, released, monkeypatch):
    monkeypatch.setattr(engine, "LONG_ENOUGH", 0.01)
    told, store = shell.well("engine", released, "--json"), Store.open(shell.store)
    figures = {each.engine: each for each in figures_of(store, told.result)}
    assert list(figures) == ["karat", "karat bfloat16", "karat int8", "ctranslate2 float32", "ctranslate2 int8"]
    own_bits = figures["karat"].bits_per_byte
    assert own_bits != figures["karat int8"].bits_per_byte == pytest.approx(own_bits, rel=0.05)
    assert figures["ctranslate2 float32"].same == 1
    assert figures["ctranslate2 float32"].bits_per_byte == pytest.approx(own_bits, rel=1e-4)
    assert own_bits != figures["ctranslate2 int8"].bits_per_byte == pytest.approx(own_bits, rel=0.05)
    chosen = store.get(told.result).facts["chosen"]
    passing = [each for each in figures.values() if each.passes and each.engine.startswith("karat")]
    assert chosen == max(passing, key=lambda each: each.tokens_per_second[1]).engine
    assert precision_of(store, open_release(store, str(released))[0]) == figures[chosen].precision
    assert "TOKENS/S" in shell.well("engine", released).out
    assert len(list((store.folder / "engines").iterdir())) == 2


def test_texts_are_written_in_the_precision_that_was_chosen_and_made_again_in_it(shell, released):
    """A request may name another; the asset's record says which it was."""
    store = Store.open(shell.store)

    def made(folder: str, *words: str) -> tuple[list[bytes], set[str | None]]:
        shell.well("generate", released, "--prompt", "The fox", "-n", "2", "--set", "most=8", *words, "-o", folder)
        files = sorted((shell.folder / folder).glob("*.txt"))
        kept = {show(store, str(file)).record.spec["sampling"].get("precision") for file in files}
        return sorted(file.read_bytes() for file in files), kept

    before, kept = made("before")
    assert kept == {None}
    record, _ = open_release(store, str(released))
    assert precision_of(store, record) == "float32"
    facts = {"chosen": "karat int8", "precision": "int8", "engines": []}
    store.record("engine", made_from=[record.id], spec=EngineSpec(threads=1), facts=facts)
    assert made("after")[1] == {"int8"}
    [file, *_] = sorted((shell.folder / "after").glob("*.txt"))
    assert "the same" in shell.well("reproduce", file, "-o", "again").out.lower()
    assert made("asked", "--set", "precision=float32") == (before, {"float32"})


def test_an_engine_that_writes_otherwise_is_not_chosen(monkeypatch):
    monkeypatch.setattr(engine, "LONG_ENOUGH", 0.01)
    ready = taught("bpe")
    own_engine = OwnEngine(ready.model, LanguageModel.of(ready).ends)
    other = awaken(copy.deepcopy(ready.model), seed=5)
    probe = Probe.drawn(ready.model, ready.made, texts=2)
    exact, rounded = OwnEngine(other, own_engine.ends), OwnEngine(other, own_engine.ends)
    rounded.precision = "int8"
    figures = measure([own_engine, exact, rounded], probe)
    assert [each.passes for each in figures] == [True, False, False]
    assert fastest(figures) is figures[0]
    quicker = figures[0].changed(tokens_per_second={1: 1e9, 16: 1e9}, draws=False)
    assert fastest([*figures, quicker]) is figures[0]
    assert own_engine.write(prompts_of(ready), NEW) == own(ready)(prompts_of(ready))
