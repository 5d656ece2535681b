"""The report opens offline, says every number with its meaning, and keeps every script."""

import io
import json
import re
from base64 import b64decode
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from karat.material.charts import Curve, figure, line_chart, score_bar
from karat.material.metrics.scores import Evaluation, Interval, Neighbours, Score, SpaceFacts
from karat.material.report import Likeness, Link, Picture, ReportContent, explanation_html, report_html, report_json, standing, write_report
from karat.material.text_pages import Copy, Dialogue, Near, Part, Sample, Samples, Strip, TextPages, cut

NUMBERS = st.floats(-1e6, 1e6, allow_nan=False)


def made_score(name: str = "fd/judge", *, value: float = 1.2, spread: float = 0.1, higher: bool = False) -> Score:
    floor = Interval(value=1.0, low=0.9, high=1.1, count=100, reference_count=90)
    facts = {"title": "Frechet distance", "meaning": "How far it is.", "space": name.split("/")[1], "higher_is_better": higher}
    numbers = {"value": value, "low": value - spread, "high": value + spread, "count": 100, "reference_count": 90}
    return Score(name=name, floor=floor, baselines={"noise": 900.0, "training": 1.05}, **facts, **numbers)


def evaluation() -> Evaluation:
    near = Neighbours(made=0, copied=True, training_row=1, training_name="甲", training_distance=0.1, held_out_row=2, held_out_distance=0.4)
    return Evaluation(
        scores=(made_score(), made_score("copied/pixels", value=0.01), made_score("my-metric/judge")),
        spaces=(SpaceFacts(name="judge", space_digest="ab" * 32, width=64),),
        counts={"made": 100, "test": 90},
        originality={"detected": {"exact": 1.0}, "false_alarms": 0.011},
        neighbours=(near,),
        options={},
    )


def picture(channels: int = 3, caption: str = "") -> Picture:
    return Picture(np.arange(8 * 8 * channels, dtype=np.uint8).reshape(8, 8, channels), caption)


def content() -> ReportContent:
    return ReportContent(
        title="表情 <icons> & faces",
        summary="一个“小”模型。",
        facts={"Licence": "OFL 1.1"},
        pictures=[picture(channels, f"笑脸 {channels} <b>") for channels in (1, 3, 4)],
        evaluation=evaluation(),
        curves=[Curve("Loss", {"train": [(0, 2.0), (10, 1.0), (20, float("nan"))], "held-out": [(0, 2.1), (20, 1.1)]}, chosen=10)],
        likenesses=[Likeness(picture(), picture(caption="近"), picture(), 0.1, 0.4, copied=True)],
        splits={"train": 1000, "test": 90},
        dropped={"near duplicate": 7},
        lineage=[Link("source", "ab" * 32, "资料")],
        settings={"train": {"steps": 100, "rates": [0.1, 0.2]}},
    )


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta", "img", "br", "link"):
            self.open.append(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href", "xlink:href", "action", "srcset")]

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing_from_outside(tmp_path):
    page_path, figures_path = write_report(content(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json"] == [page_path.name, figures_path.name]
    text = page_path.read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert page.addresses
    assert all(address.startswith("data:image/png;base64,") for address in page.addresses)
    assert not re.search(r"https?://|@import|url\(|<script", text)
    assert "prefers-color-scheme: dark" in text


def test_every_script_survives_and_nothing_is_taken_for_markup():
    text = report_html(content())
    assert "表情 &lt;icons&gt; &amp; faces" in text
    assert "笑脸 4 &lt;b&gt;" in text
    assert "一个“小”模型。" in text
    assert "<b>" not in re.sub(r"<b>(source|training|held out)", "", text)


def test_pictures_are_the_same_pixels():
    from PIL import Image

    for number, address in enumerate(Page(report_html(content())).addresses[:3]):
        pixels = np.asarray(Image.open(io.BytesIO(b64decode(address.partition(",")[2]))))
        assert np.array_equal(pixels.reshape(8, 8, -1), content().pictures[number].pixels)


def test_the_page_and_the_json_say_the_same():
    text, figures = report_html(content()), json.loads(report_json(content()))
    assert Evaluation.from_json(json.dumps(figures["evaluation"])) == evaluation()
    for score in evaluation().scores:
        assert figure(score.value) in text
        assert score.meaning in text
        assert figure(score.floor.value) in text
    assert figures["splits"] == {"train": 1000, "test": 90}
    assert "1,000" in text
    assert figures["likenesses"][0]["copied"] is True
    assert "flagged" in text
    assert "train.rates" in text
    assert "0.1, 0.2" in text
    assert "near duplicate" in text


def test_what_is_empty_is_left_out():
    text = report_html(ReportContent(title="bare", summary="nothing yet"))
    assert Page(text).open == []
    assert "<section" not in text
    assert "<img" not in text


def test_a_score_is_said_to_stand_where_it_stands():
    assert standing(made_score(value=1.15)) == "as real values"
    assert standing(made_score(value=3)) == "short of real values"
    assert standing(made_score(value=0.5)) == "better than real values"
    assert standing(made_score(value=3, higher=True)) == "better than real values"


def test_more_than_real_is_no_better_where_real_is_best():
    score = made_score(value=3, higher=True).changed(real_is_best=True)
    assert standing(score) == "short of real values: too much"
    assert standing(score.changed(value=0.1, low=0.0, high=0.2)) == "short of real values: too little"
    assert standing(made_score(value=1.15).changed(real_is_best=True)) == "as real values"
    assert not score.reaches_floor


def text_pages() -> TextPages:
    strip = Strip([Part(" fox", 2.0), Part("<i>", 9.0)], [Part("The", -1.5), Part(" red", 3.0)], [Near("狐狸 & co", 0.5)], title="why")
    return TextPages(
        samples=[Samples("From nothing", "A note.", [Sample("a <b>copied span</b> 春眠", "1.20 nats", prompt="It was ", marked=[(2, 8)])])],
        dialogues=[Dialogue("2 + 2?", "5", "4 < 5", "chrF 0", marked=[(0, 1)])],
        strips=[strip],
        copies=[Copy("made it so", (5, 7), "and made it", (9, 11), 14, "tale <7>.txt", flagged=True)],
        held_out_longest=12,
    )


def test_texts_are_shown_as_they_are_with_what_was_copied_marked():
    text = report_html(ReportContent(title="Tales", summary="A model.", texts=text_pages()))
    assert Page(text).open == []
    assert not re.search(r"https?://|@import|url\(|<script", text)
    assert "<s>It was </s>a <mark>&lt;b&gt;cop</mark>ied span&lt;/b&gt; 春眠</p>" in text
    assert "<mark>5</mark>" in text
    assert "4 &lt; 5" in text
    assert "made <mark>it</mark> so" in text
    assert "tale &lt;7&gt;.txt" in text
    assert "<b>flagged</b>" in text
    assert "spans of up to 12" in text
    assert '<i style="--much: 18.8" title="2.00 nats"> fox</i><i style="--much: 75.0" title="9.00 nats">&lt;i&gt;</i>' in text
    assert '<i class="against" style="--much: 37.5"' in text
    told = json.loads(report_json(ReportContent(title="Tales", summary="A model.", texts=text_pages())))["texts"]
    assert told["copies"][0]["name"] == "tale <7>.txt"
    assert told["strips"][0]["prompt"][1] == {"text": " red", "nats": 3.0}


def test_an_explanation_is_a_page_of_its_own():
    text = explanation_html("Why", "an <answer>", text_pages().strips[0])
    assert Page(text).open == []
    assert "an &lt;answer&gt;" in text
    assert "狐狸 &amp; co" in text


@given(st.text(max_size=20), st.lists(st.integers(0, 20), max_size=6))
def test_a_text_that_is_cut_is_still_all_there(text, places):
    ends = sorted({min(place, len(text)) for place in places})
    spans = list(zip(ends[::2], ends[1::2], strict=False))
    assert "".join(part for part, _ in cut(text, spans)) == text
    assert [part for part, inside in cut(text, spans) if inside] == [text[a:b] for a, b in spans]


@given(value=NUMBERS, spread=st.floats(0, 1e5), noise=NUMBERS, training=NUMBERS)
def test_any_score_draws_within_its_bar(value, spread, noise, training):
    score = made_score(value=value, spread=spread).changed(baselines={"noise": noise, "训练 <copy>": training})
    for element in ElementTree.fromstring(score_bar(score)).iter():
        for name in ("x", "x1", "x2", "cx"):
            assert -1 <= float(element.get(name, 0)) <= 321


@given(points=st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=40), chosen=st.none() | NUMBERS)
@example(points=[(0.0, 5e-324)], chosen=None)
def test_any_curve_draws(points, chosen):
    curve = Curve("a <curve>", {"one & only": sorted(points), "none": []}, chosen=chosen)
    chart = ElementTree.fromstring(line_chart(curve))
    places = [float(place) for line in chart.iter("polyline") for pair in line.get("points").split() for place in pair.split(",")]
    assert len(places) == 2 * len(points)
    assert all(np.isfinite(places))
    assert min(places) >= -10
    assert max(places) <= 450


def test_a_curve_of_nothing_is_nothing():
    assert line_chart(Curve("empty", {"none": [(0.0, float("nan"))]})) == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (1.0, "1.00"), (-0.0256, "−0.0256"), (12.345, "12.3"), (1234.5, "1,234"), (0.00001, "0"), (float("nan"), "–")],
)
def test_figures_read_well(value, text):
    assert figure(value) == text
