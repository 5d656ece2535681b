"""Writing texts: exact whatever is written beside them, every option as it says, bound to schemas; what cannot be written is refused."""

import io
import json
import re
import shutil
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shell import Shell
from tiny import awaken

from karat.learning.families.choosing import Choice, choose
from karat.learning.models import Model, ModelSpec
from karat.learning.nets import matrices
from karat.learning.nets.decoding import CausalDecoder
from karat.learning.nets.matrices import Precision, matrix_of
from karat.learning.nets.pacing import AGAIN, TRIES, Pace
from karat.learning.nets.transformer import CausalTransformer, TransformerSpec
from karat.values.codecs.spelling import Speller, spelling_of
from karat.values.codecs.text import TextCodec
from karat.values.given import Given
from karat.values.passages import Passage, Turn
from karat.values.spaces import Space
from karat.words.errors import DataError, KaratError, SpecError
from karat.words.specs import canonical
from karat.work.beams import beams_of
from karat.work.holding import Held
from karat.work.orders import Order, WritingOptions
from karat.work.writing import Writer

TEXTS = ["a red fox and a blue whale", '{"name": "fox", "age": 12}', "狐狸和蓝色的鲸鱼", "héron, über, 中文"]
NET = TransformerSpec(width=32, depth=2)


def codec_of(units: str = "bpe", **options: Any) -> TextCodec:
    return TextCodec.fit({"units": units, "packing": "stream", "length": 48, **options}, TEXTS)


def model_of(codec: TextCodec, **options: Any) -> Model:
    family = {"kind": "autoregressive", "net": NET, **options}
    return awaken(Model(ModelSpec.from_values({"space": codec.space, "family": family})))


@pytest.fixture(scope="module", params=["bpe", "characters"])
def writer(request: pytest.FixtureRequest) -> Writer:
    codec = codec_of(request.param)
    return Writer(model_of(codec), codec)


def order(prompt: Any = "a red", index: int = 0, **options: Any) -> Order:
    return Order(prompt, WritingOptions.from_values(options), (5, index))


def text_of(writer: Writer, prompt: Any = "a red", index: int = 0, **options: Any) -> str:
    return writer.written([order(prompt, index, **options)])[0].text


# Exactness


def test_decoding_gives_the_nets_logits() -> None:
    net = awaken(CausalTransformer(Space(axes=("token",), shape=(40,), vocab=50), {}, TransformerSpec(width=24, depth=2)))
    decoder, ids = CausalDecoder(net), torch.randint(50, (1, 40), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        whole = net(ids, Given())[0]
    found = [decoder.begin(0, ids[0, :7].tolist(), Given()), *(decoder.step([int(id)])[0] for id in ids[0, 7:39])]
    torch.testing.assert_close(torch.stack(found), whole[7:], rtol=1e-4, atol=1e-5)


def test_decoding_reads_conditions_before_the_row() -> None:
    spaces = {"label": Space(vocab=3), "text": Space(axes=("token",), shape=(5,), vocab=9)}
    net = awaken(CausalTransformer(Space(axes=("token",), shape=(12,), vocab=20), spaces, TransformerSpec(width=16, depth=1)))
    conditions = Given.of(label=torch.tensor([2]), text=torch.tensor([[1, 2, 3, 4, 5]]))
    ids = torch.randint(20, (1, 12), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        whole = net(ids, conditions)[0]
    decoder = CausalDecoder(net)
    found = [decoder.begin(0, [], conditions), *(decoder.step([int(id)])[0] for id in ids[0, :11])]
    torch.testing.assert_close(torch.stack(found), whole, rtol=1e-4, atol=1e-5)


def test_rows_keep_their_numbers_when_they_are_arranged() -> None:
    net = awaken(CausalTransformer(Space(axes=("token",), shape=(40,), vocab=50), {}, NET))
    decoder = CausalDecoder(net)
    prompts = [[1, 2, 3], [4], [5, 6, 7, 8, 9, 10]]
    alone = []
    for prompt in prompts:
        decoder.begin(0, prompt, Given())
        alone.append([decoder.step([11])[0], decoder.step([12])[0]])
    for row, prompt in enumerate(prompts):
        decoder.begin(row, prompt, Given())
    first = decoder.step([11, 11, 11])
    decoder.arrange([2, 0])
    second = decoder.step([12, 12])
    assert torch.equal(first, torch.stack([each[0] for each in alone]))
    assert torch.equal(second, torch.stack([alone[2][1], alone[0][1]]))


def test_steps_take_as_many_threads_as_are_fastest_of_late() -> None:
    pace, chosen = Pace([1, 2]), []
    for step in range(6 * AGAIN):
        chosen.append(pace.choice(4))
        two = 2.0 if step < 3 * AGAIN else 9.0
        late = 50.0 if step % 10 == 0 else 0.0
        pace.tell(4, chosen[-1], late + (3.0 if chosen[-1] == 1 else two))
    calm, busy = chosen[: 3 * AGAIN], chosen[3 * AGAIN :]
    assert 1 in calm, "each is tried"
    assert calm.count(1) <= 4 * TRIES, "the fastest is kept to, though single steps are late"
    assert busy.count(2) <= 4 * TRIES, "until other programs make it slow"
    assert Pace([1]).choice(1) == 1


def test_a_text_is_the_same_with_any_number_of_threads() -> None:
    net = awaken(CausalTransformer(Space(axes=("token",), shape=(40,), vocab=50), {}, NET))
    decoder = CausalDecoder(net)
    found = []
    for choice in decoder.pace.choices:
        decoder.pace = Pace([choice])
        decoder.begin(0, [1, 2, 3], Given())
        found.append(torch.cat([decoder.step([id]) for id in range(30)]))
    assert all(torch.equal(each, found[0]) for each in found)


def test_where_numbers_depend_on_the_rows_beside_them_all_steps_have_one_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    net = awaken(CausalTransformer(Space(axes=("token",), shape=(40,), vocab=50), {}, NET))
    free = CausalDecoder(net)
    monkeypatch.setattr(CausalDecoder, "_steadily", lambda decoder, count: None)
    bound = CausalDecoder(net)
    for decoder in (free, bound):
        for row, prompt in enumerate([[1, 2, 3], [4], [5, 6, 7, 8]]):
            decoder.begin(row, prompt, Given())
    assert not bound.steady
    for ids in ([9, 8, 7], [6, 5, 4]):
        torch.testing.assert_close(bound.step(ids), free.step(ids), rtol=1e-4, atol=1e-5)
    bound.arrange([2])
    free.arrange([2])
    torch.testing.assert_close(bound.step([3]), free.step([3]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_each_id_costs_what_the_net_says(precision: Precision) -> None:
    net = awaken(CausalTransformer(Space(axes=("token",), shape=(40,), vocab=50), {}, TransformerSpec(width=40, depth=2)))
    ids = torch.randint(50, (1, 40), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        whole = torch.nn.functional.cross_entropy(net(ids, Given())[0], ids[0], reduction="none")
    found = CausalDecoder(net, precision).costs(ids[0].tolist())
    torch.testing.assert_close(found, whole, rtol=0, atol={"float32": 1e-5, "bfloat16": 0.05, "int8": 0.15}[precision])
    assert torch.equal(found, whole) is False or precision == "float32"


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_products_are_near_in_every_precision(precision: Precision) -> None:
    generator = torch.Generator().manual_seed(0)
    weight, x, h = (torch.randn(shape, generator=generator) for shape in ((40, 72), (5, 72), (5, 40)))
    weight[:, 3], h[2] = 0, 0
    matrix, within = matrix_of(weight, precision), {"float32": 1e-5, "bfloat16": 0.1, "int8": 0.3}[precision]
    torch.testing.assert_close(matrix.times(h), h @ weight, rtol=0, atol=within)
    torch.testing.assert_close(matrix.onto(x, h), x + h @ weight, rtol=0, atol=within)
    assert torch.equal(matrix.onto(x, h)[2], x[2])


@pytest.mark.parametrize("narrow", [False, True])
def test_the_largest_whole_numbers_are_multiplied_exactly(narrow: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of one sign: where a processor cut their sums, the products would be less."""
    if narrow:
        monkeypatch.setattr(matrices, "adds_in_full", lambda: False)
    weight, h = torch.ones(64, 32), torch.ones(3, 64)
    torch.testing.assert_close(matrix_of(weight, "int8").times(h), h @ weight)


def test_a_step_leaves_the_number_of_threads_as_it_was(writer: Writer) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        text_of(writer, most=3)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_texts_of_whole_numbers_are_their_own_and_the_same_alone_and_among_others() -> None:
    codec = codec_of()
    writer = Writer(model_of(codec), codec, precision="int8")
    orders = [order(("a red", "", "狐狸")[place % 3], place, most=3 + place * 7 % 23, logprobs=1) for place in range(20)]
    together = writer.written(orders)
    assert together == [writer.written([each])[0] for each in orders]
    assert together != Writer(model_of(codec), codec).written(orders)


def test_a_text_is_the_same_alone_and_among_others(writer: Writer) -> None:
    """To the bit, log-probabilities included, also when rows end at different times and make room for others."""
    prompts = ["a red", "", "狐狸", "a blue whale and", "über"]
    orders = [order(prompts[place % 5], place, most=3 + place * 7 % 23, logprobs=2) for place in range(24)]
    orders += [order("a", 30, temperature=0, logprobs=0), order("a", 31, top_p=0.5, repetition_penalty=1.5, logprobs=1)]
    together = writer.written(orders)
    assert together[:4] == writer.written(orders[:4])
    assert together == [writer.written([each])[0] for each in orders]
    assert len({each.text for each in together}) > 20


def test_tokens_as_they_come_make_the_whole_text(writer: Writer) -> None:
    whole = writer.written([order(most=30, logprobs=0)])[0]
    tokens = list(writer.write([order(most=30, logprobs=0)]))
    assert "".join(token.text for token in tokens) == whole.text
    assert tuple(token.logprob for token in tokens) == whole.logprobs
    assert [token.finish for token in tokens[:-1]] == [None] * (len(tokens) - 1)


def test_another_seed_or_index_writes_another_text(writer: Writer) -> None:
    texts = {text_of(writer, index=index, most=30) for index in range(5)}
    assert len(texts) == 5
    assert text_of(writer, index=0, most=30) in texts


# Options


def test_the_likeliest_id_is_chosen_at_no_temperature_and_among_one(writer: Writer) -> None:
    greedy = text_of(writer, temperature=0, most=20)
    assert text_of(writer, top_k=1, index=3, most=20) == greedy
    assert text_of(writer, top_p=1e-6, index=4, most=20) == greedy
    assert text_of(writer, min_p=1.0, index=5, most=20) == greedy
    assert text_of(writer, temperature=5.0, index=6, most=20) != greedy


LOGITS = torch.tensor([[2.0, 1.0, 0.5, -1.0, -3.0]])
NUMBERS = torch.linspace(0, 1, 402)[1:-1]


def drawn(options: dict[str, Any], **beside: Any) -> set[int]:
    """Give all ids that are drawn under some options."""
    many = {name: value.expand(len(NUMBERS), -1) for name, value in beside.items()}
    return set(choose(LOGITS.expand(len(NUMBERS), -1), Choice.from_values(options), NUMBERS, **many).tolist())


def test_each_option_leaves_the_ids_that_it_says() -> None:
    assert drawn({}) == {0, 1, 2, 3, 4}
    assert drawn({"top_k": 3}) == {0, 1, 2}
    chances = LOGITS.softmax(-1)[0]
    assert drawn({"top_p": float(chances[:2].sum()) - 0.01}) == {0, 1}
    assert drawn({"min_p": float(chances[2] / chances[0]) - 0.01}) == {0, 1, 2}
    assert drawn({"bias": {0: -100, 4: 100}}) == {4}
    assert drawn({}, allowed_BV=torch.tensor([[False, True, False, True, False]])) == {1, 3}
    assert drawn({"repetition_penalty": 1e9, "temperature": 0.1}, seen_BV=torch.tensor([[True, False, True, True, True]])) == {1}


def test_ids_are_drawn_as_often_as_they_are_likely() -> None:
    found = choose(LOGITS.expand(len(NUMBERS), -1), Choice(), NUMBERS)
    frequency = torch.bincount(found, minlength=5) / len(NUMBERS)
    torch.testing.assert_close(frequency, LOGITS.softmax(-1)[0], atol=0.01, rtol=0)


def test_a_great_repetition_penalty_keeps_ids_from_coming_twice(writer: Writer) -> None:
    plain = writer.written([order("", temperature=0, most=30)])[0].ids
    assert len(set(plain)) < len(plain)
    varied = writer.written([order("", temperature=0, most=30, repetition_penalty=50.0)])[0].ids
    assert len(set(varied)) > len(set(plain))


def test_log_probabilities_are_those_of_the_model(writer: Writer) -> None:
    made = writer.written([order("a red", most=8, logprobs=3)])[0]
    assert made.finish == "length"
    ids = [*writer.codec.prompt("a red"), *made.ids]
    row = torch.zeros(1, writer.decoder.longest, dtype=torch.long)
    row[0, : len(ids)] = torch.tensor(ids)
    with torch.inference_mode():
        logs = writer.decoder.net(row, Given())[0].log_softmax(-1)  # type: ignore[attr-defined]
    expected = [float(logs[len(ids) - 8 + place, id]) for place, id in enumerate(made.ids)]
    assert made.logprobs == pytest.approx(expected, abs=1e-4)
    assert all(len(each) == 3 and each[0][1] >= each[1][1] >= each[2][1] for each in made.likeliest)


def test_the_best_of_several_is_the_likeliest_on_average(writer: Writer) -> None:
    def mean(**options: Any) -> float:
        made = writer.written([order("a red", most=12, logprobs=0, **options)])[0]
        return sum(made.logprobs) / len(made.logprobs)

    assert mean(best_of=8) > mean()
    assert text_of(writer, most=12, best_of=1) == text_of(writer, most=12)


def test_wide_beams_find_the_likeliest_text_of_all() -> None:
    net = awaken(CausalTransformer(Space(axes=("token",), shape=(6,), vocab=4), {}, TransformerSpec(width=16, depth=1)), seed=3)
    with torch.no_grad():
        net.leave.weight.mul_(8)
    decoder = CausalDecoder(net)

    def total(ids: tuple[int, ...]) -> float:
        logs = [decoder.begin(0, list(ids[:place]), Given()).log_softmax(-1)[id] for place, id in enumerate(ids)]
        return float(sum(logs))

    texts = [(*ids, 0) for size in range(3) for ids in product((1, 2, 3), repeat=size)] + list(product((1, 2, 3), repeat=3))
    for power in (0.0, 1.0):
        best = max(texts, key=lambda ids: total(ids) / len(ids) ** power)
        options = WritingOptions(beams=16, length_penalty=power)
        ids, logprobs = beams_of(decoder, decoder.begin(0, [], Given()), {0}, 3, options, [])
        assert ids == best
        assert sum(logprobs) == pytest.approx(total(best), abs=1e-4)


def test_beams_are_at_least_as_likely_as_the_likeliest_ids(writer: Writer) -> None:
    def mean(index: int, **options: Any) -> float:
        made = writer.written([order("a red fox"[: index + 1], most=10, logprobs=0, **options)])[0]
        return sum(made.logprobs) / len(made.logprobs)

    better = [mean(index, beams=6) - mean(index, temperature=0) for index in range(6)]
    assert sum(better) >= 0
    assert text_of(writer, temperature=0, most=10) == text_of(writer, top_k=1, beams=1, most=10)


def test_more_than_the_context_is_refused_or_cut_at_the_front(writer: Writer) -> None:
    long = "a red fox and " * 20
    with pytest.raises(SpecError, match="tokens long"):
        writer.written([order(long)])
    assert writer.written([order(long, truncate="front", most=10)])[0].finish in ("stop", "length")
    kept = writer.codec.prompt(long)[-(writer.decoder.longest - 10) :]
    assert text_of(writer, long, truncate="front", most=10) == text_of(writer, kept, most=10)


def test_a_text_ends_where_the_context_does(writer: Writer) -> None:
    made = writer.written([order("a red", bias={0: -1e9})])[0]
    assert made.finish == "length"
    assert len(made.ids) == writer.decoder.longest - len(writer.codec.prompt("a red"))


def test_a_turn_ends_at_the_next_mark_and_plain_text_has_none() -> None:
    codec = codec_of(packing="whole")
    writer = Writer(model_of(codec), codec)
    talk = Passage(turns=(Turn(role="user", text="a red fox"),))
    marked = writer.written([order(talk, bias={2: 1e9})])[0]
    assert (marked.text, marked.finish) == ("", "stop")
    assert not {1, 2, 3} & set(writer.written([order("a", bias={2: 1e9}, most=9)])[0].ids)
    with pytest.raises(DataError, match="no turn of the user"):
        writer.written([order(Passage(turns=(Turn(role="system", text="Be brief."),)))])


# Stop strings and half characters


@given(st.text("abc", max_size=30), st.lists(st.text("abc", min_size=1, max_size=4), max_size=3), st.lists(st.integers(0, 30), max_size=8))
@settings(max_examples=300, deadline=None)
def test_stop_strings_are_found_across_any_borders(text: str, stops: list[str], cuts: list[int]) -> None:
    held, borders = Held(stops), [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[first:last] for first, last in pairwise(borders)]
    out = ""
    for piece in pieces:
        out += held.say(piece)
        assert not any(stop in out for stop in stops)
    out += held.rest()
    ends = [(text.index(stop) + len(stop), text.index(stop)) for stop in stops if stop in text]
    assert held.stopped == bool(ends)
    assert out == (text[: min(ends)[1]] if ends else text)


@pytest.mark.parametrize("units", ["bpe", "bytes", "characters"])
@given(text=st.text(st.characters(codec="utf-8"), max_size=20))
@settings(max_examples=60, deadline=None)
def test_texts_are_spelt_without_half_characters(units: str, text: str) -> None:
    codec = CODECS[units]
    speller = Speller(spelling_of(codec.tokenizer))
    ids = codec.ids(text)
    pieces = [speller.say(id) for id in ids]
    assert "".join(pieces) + speller.rest() == codec.text(ids)
    assert "�" in text or not any("�" in piece for piece in pieces)


CODECS = {units: codec_of(units) for units in ("bpe", "bytes", "characters")}


def test_a_text_ends_before_a_stop_string(writer: Writer) -> None:
    whole = writer.written([order(most=30, index=2)])[0]
    stop = whole.text[5:8]
    cut = writer.written([order(most=30, index=2, stop=(stop,))])[0]
    assert cut.finish == "stop"
    assert cut.text == whole.text[: whole.text.index(stop)]


# Constraints

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer"},
        "tags": {"type": "array", "items": {"enum": ["red", "blue"]}, "minItems": 1},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}


def long_writer(units: str) -> Writer:
    codec = codec_of(units, length=160)
    return Writer(model_of(codec), codec)


@pytest.mark.parametrize("units", ["bpe", "characters"])
def test_an_untrained_model_writes_json_of_a_schema(units: str) -> None:
    writer = long_writer(units)
    orders = [order("", index, json_schema=SCHEMA, most=90, temperature=index / 2) for index in range(2)]
    for made in writer.written(orders):
        value = json.loads(made.text)
        assert made.finish == "constraint"
        assert isinstance(value["name"], str)
        assert isinstance(value["age"], int)
        assert set(value["tags"]) <= {"red", "blue"}
    assert writer.written(orders[:1])[0] == writer.written(orders)[0]


def test_choices_and_expressions_bind_the_text(writer: Writer) -> None:
    choices = ("red", "blue", "狐狸", "a.*")
    made = writer.written([order("", index, choice=choices, temperature=3.0) for index in range(12)])
    assert {each.text for each in made} <= set(choices)
    assert len({each.text for each in made}) > 1
    pattern = r"[a-c]{2,5}-\d+"
    for each in writer.written([order("", index, regex=pattern, most=15) for index in range(4)]):
        assert re.fullmatch(pattern, each.text), each.text


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"json_schema": {"type": "string", "minLength": 5, "maxLength": 2}}, "No text can be"),
    ({"json_schema": {"type": "nothing"}}, "No text can be"),
    ({"regex": "(ab"}, "No text can be"),
    ({"regex": "[xyz]{40}", "most": 10}, "does not fit into 10 tokens"),
    ({"json_schema": SCHEMA, "most": 6}, "does not fit into 6 tokens"),
    ({"choice": ("red", "")}, "empty"),
    ({"choice": ("red",), "regex": "red"}, "at once"),
    ({"choice": ("red",), "beams": 2}, "Beams do not go with"),
    ({"best_of": 2, "beams": 2}, "Beams do not go with"),
    ({"stop": ("",)}, "stop string is empty"),
]


@pytest.mark.parametrize(("options", "said"), REFUSED)
def test_what_cannot_be_written_is_refused(writer: Writer, options: dict[str, Any], said: str) -> None:
    with pytest.raises(KaratError, match=said):
        writer.written([order("", **options)])


def test_half_characters_in_a_prompt_are_refused(writer: Writer) -> None:
    with pytest.raises(DataError, match="half characters"):
        writer.written([order("a \ud800 b")])


def test_a_model_that_does_not_write_token_by_token_is_refused() -> None:
    codec = codec_of()
    model = Model(ModelSpec.from_values({"space": codec.space, "family": {"kind": "masked", "net": NET}}))
    with pytest.raises(SpecError, match="token by token"):
        Writer(model, codec)


# The command line


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder whose store holds a release of plain text and one that answers, each trained for a moment."""
    from karat.faces.cli.entry import run

    folder = tmp_path_factory.mktemp("texts")
    store = str(folder / "store")
    lines = [f"{colour} {thing} sat on the {place}" for colour in ("a red", "a blue") for thing in ("fox", "cat") for place in "abcdefgh"]
    plain, talk = folder / "plain.jsonl", folder / "talk.jsonl"
    plain.write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    talk.write_text("".join(json.dumps({"prompt": f"Where is {line[:9]}?", "completion": f"On {line[-1]}."}) + "\n" for line in lines))
    for name, file in (("plain", plain), ("talk", talk)):
        assert run(["--store", store, "--json", "data", "import", str(file), "--licence", "CC0-1.0"]) == 0
        assert run(["--store", store, "--json", "data", "snapshot", "latest", "--name", name]) == 0
        assert run(["--store", store, "--json", "train", name, "--steps", "4", "--size", "tiny", "--set", "made.length=64"]) == 0
        write_release_of(store, folder / f"{name}.karat")
    return folder


def write_release_of(place: str, path: Path) -> None:
    """Release the newest run without its evaluation, which these tests do not need."""
    from karat.app.chain import find, open_store
    from karat.material.releases import SigningKey, write_release

    store = open_store(Path(place))
    run = find(store, "latest", "run")
    parts = {"spec.json": canonical(run.spec), "model.safetensors": store.path(run.made or "")}
    write_release(path, parts, key=SigningKey.at(store.folder), facts={"title": path.stem})


@pytest.fixture
def shell(texts: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    shutil.copytree(texts, tmp_path / "texts", symlinks=True)
    monkeypatch.chdir(tmp_path / "texts")
    return Shell(capsys, tmp_path / "texts")


def test_texts_are_files_with_their_origin_beside_them(shell: Shell) -> None:
    told = shell.well("generate", "plain.karat", "-n", 3, "--prompt", "a red", "--set", "most=12", "-o", "out")
    files = sorted(Path("out").glob("*.txt"))
    assert len(files) == 3
    assert all(path.read_text() in told.out for path in files)
    assert "3 of 3" in shell.well("verify", *files).out
    again = shell.well("--json", "generate", "plain.karat", "--first", 2, "--prompt", "a red", "--set", "most=12", "-o", "more")
    assert again.lines[0]["kind"] == "started"
    [single] = Path("more").glob("*.txt")
    assert (single.name, single.read_bytes()) == (files[2].name, files[2].read_bytes())
    shell.well("reproduce", files[1], "-o", "again")
    assert (Path("again") / files[1].name).read_bytes() == files[1].read_bytes()
    files[0].write_text("changed")
    assert shell("verify", files[0]).code == 5


def test_without_a_prompt_a_text_is_written_from_nothing(shell: Shell) -> None:
    shell.well("generate", "plain.karat", "--set", "most=5")
    assert "writes nothing by itself" in shell.refused("generate", "talk.karat")


def test_prompts_come_from_a_file(shell: Shell) -> None:
    asked = [
        {"prompt": "Where is a red fox?"},
        {"messages": [{"role": "user", "content": "Hello"}]},
        {"prompt": "Hi", "system": "Be brief."},
    ]
    Path("prompts.jsonl").write_text("".join(json.dumps(each) + "\n" for each in asked))
    shell.well("generate", "talk.karat", "--file", "prompts.jsonl", "-n", 2, "--set", "most=4", "-o", "out")
    assert len(list(Path("out").glob("*.txt"))) == 6
    Path("wrong.jsonl").write_text('{"prompt": "a"}\n{"prompt": \n')
    assert "Line 2" in shell.refused("generate", "talk.karat", "--file", "wrong.jsonl")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["plain.karat", "--prompt", "a", "--system", "b"], "Leave out --system"),
        (["plain.karat", "--prompt", "a red " * 60], "tokens long"),
        (["plain.karat", "--prompt", "a", "--set", "wide=3"], "no wide"),
        (["plain.karat", "--prompt", "a", "--each", "label"], "Leave out"),
        (["talk.karat", "--prompt", "a", "--file", "talk.jsonl"], "twice"),
    ],
)
def test_what_a_release_of_texts_cannot_do_is_said(shell: Shell, words: list[str], said: str) -> None:
    assert said in shell.refused("generate", *words)


def test_a_conversation_forgets_its_oldest_turns(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def chat(*options: str) -> str:
        monkeypatch.setattr("sys.stdin", io.StringIO("Where is a red fox?\n\nAnd a blue cat?\nAnd now?\nAnd then?\n"))
        return shell.well("chat", "talk.karat", "--set", "most=6", "--persona", "Be brief.", *options).out

    told = chat("--seed", "2")
    assert "oldest turns are forgotten" in told
    assert told == chat("--seed", "2") != chat("--seed", "3")
    assert "does not converse" in shell.refused("chat", "plain.karat")
