"""Metrics do what they say on real digits: nothing against itself, about nothing between halves, more with corruption."""

from pathlib import Path

import numpy as np
import pytest
import torch

from karat.material.metrics.calibration import calibration_table, corrupted, moved
from karat.material.metrics.disturb import Disturbance, blurred, disturbed, shifted
from karat.material.metrics.features import RandomConv, reduced_pixels
from karat.material.metrics.judge import Judge, JudgeOptions, train_judge
from karat.material.metrics.networks import NetworkOptions, OwnNetwork
from karat.material.metrics.scores import Evaluation, Resampling, Side, metrics, result_of, score
from karat.words.errors import DataError, SpecError
from karat.words.events import Event, Finished
from karat.work.evaluation import Evaluated, EvaluationOptions, Reality, Values, evaluate, prepare, quick_score

DISTANCES = ("fd", "kid", "precision", "recall", "density", "coverage", "vendi")
OPTIONS = EvaluationOptions(resamples=60, judge=JudgeOptions(steps=150))


def digits() -> Values:
    from sklearn.datasets import load_digits

    found = load_digits()
    order = torch.randperm(len(found.target), generator=torch.Generator().manual_seed(0))
    return Values(torch.from_numpy(found.images).float()[..., None][order] / 8 - 1, torch.from_numpy(found.target).long()[order])


def part(start: int, end: int) -> Values:
    return DIGITS.rows(torch.arange(start, end))


DIGITS = digits()
REAL = Reality(
    train=[part(1150, 1500), part(1500, 1797)],
    validation=part(270, 450),
    test=part(450, 800),
    judge=part(0, 270),
    classes=list("0123456789"),
)
FRESH = part(800, 1150)


@pytest.fixture(scope="module")
def yardstick():
    return result_of(prepare(REAL, OPTIONS))


@pytest.fixture(scope="module")
def judge(yardstick) -> Judge:
    return yardstick.judge


def side(values: Values, judge: Judge) -> Side:
    return Side(judge.features(values.values), reduced_pixels(values.values), judge.probabilities(values.values), values.labels)


def test_a_set_has_no_distance_from_itself(judge):
    same = side(FRESH, judge)
    found = {name: metrics[name].measure(same, same, Resampling(0)).value for name in DISTANCES}
    assert found["fd"] == pytest.approx(0, abs=1e-6)
    assert found["kid"] < 0, "the unbiased estimate leaves out each value's meeting with itself"
    assert found["precision"] == found["recall"] == found["coverage"] == 1
    assert found["density"] == pytest.approx(1, abs=0.25)


def test_kernel_distance_of_two_halves_of_reality_is_nothing_on_average(judge):
    features = judge.features(DIGITS.values[270:])
    found = []
    for seed in range(30):
        order = torch.randperm(len(features), generator=torch.Generator().manual_seed(seed))
        halves = [Side(features[rows], features[:1]) for rows in (order[:700], order[700:1400])]
        found.append(metrics["kid"].measure(halves[0], halves[1], Resampling(0)).value)
    assert abs(np.mean(found)) < 3 * np.std(found) / 30**0.5
    assert min(found) < 0 < max(found)


@pytest.mark.parametrize("metric", ["fd", "kid"])
def test_a_distance_rises_with_corruption(metric, judge):
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(FRESH.values.shape, generator=generator)
    random_conv = RandomConv(1, typical=REAL.judge.values)
    real = Side(random_conv.features(REAL.test.values), torch.zeros(1, 1))
    noisy = [(FRESH.values + strength * noise).clamp(-1, 1) for strength in (0, 0.1, 0.3, 0.9)]
    found = [metrics[metric].measure(Side(random_conv.features(values), torch.zeros(1, 1)), real, Resampling(0)).value for values in noisy]
    assert found == sorted(found)
    assert found[-1] > 10 * max(found[0], 0.01)


@pytest.mark.parametrize("metric", ["fd", "kid", "precision", "coverage", "vendi"])
def test_intervals_cover_what_the_metric_is_on_average(metric):
    generator = torch.Generator().manual_seed(1)
    found = []
    for seed in range(30):
        made = 0.8 * torch.randn(150, 8, generator=generator) + 0.2
        real = torch.randn(120, 8, generator=generator)
        found.append(metrics[metric].measure(Side(made, made), Side(real, real), Resampling(100, seed)))
    average = np.mean([interval.value for interval in found])
    covered = np.mean([interval.low <= average <= interval.high for interval in found])
    assert covered >= 0.85
    assert np.std([interval.value for interval in found]) > np.mean([interval.high - interval.low for interval in found]) / 14


def test_the_order_within_a_batch_does_not_matter(judge):
    made, real = side(FRESH, judge), side(REAL.test, judge)
    order = torch.randperm(len(FRESH), generator=torch.Generator().manual_seed(3))
    shuffled = side(FRESH.rows(order), judge)
    for name in (*DISTANCES, "condition-accuracy"):
        first, second = (metrics[name].measure(each, real, Resampling(0)).value for each in (made, shuffled))
        assert first == pytest.approx(second, rel=1e-4, abs=1e-5), name


def test_features_do_not_depend_on_batch_mates(judge):
    for space in (judge, RandomConv(1)):
        together = space.features(FRESH.values[:20])
        alone = torch.cat([space.features(value[None]) for value in FRESH.values[:20]])
        assert torch.allclose(together, alone, atol=1e-4)


def test_the_same_seed_gives_the_same_numbers(yardstick):
    few = OPTIONS.changed(resamples=10)
    made = Values((FRESH.values + 0.05).clamp(-1, 1), FRESH.labels)
    first, second = (result_of(evaluate(made, REAL, few, yardstick=yardstick)) for _ in range(2))
    assert first.scores == second.scores
    assert first.digest() == second.digest()
    short = JudgeOptions(steps=20)
    judges = [result_of(train_judge(REAL.judge.values, REAL.judge.labels, short, classes=10)) for _ in range(2)]
    assert judges[0].digest == judges[1].digest


def test_an_evaluation_holds_every_number_beside_its_floor(yardstick):
    events: list[Event] = list(evaluate(FRESH, REAL, OPTIONS, yardstick=yardstick))
    assert isinstance(events[-1], Finished)
    evaluation = next(event.evaluation for event in events if isinstance(event, Evaluated))
    assert Evaluation.from_json(evaluation.to_json()) == evaluation
    names = {*DISTANCES, "c2st", "condition-accuracy", "closer-to-training", "authenticity", "copied"}
    assert {name.partition("/")[0] for name in evaluation.figures()} == names
    for found in evaluation.scores:
        assert found.low <= found.value <= found.high, found.name
        assert found.floor is not None, found.name
        assert {"noise", "mean", "training"} <= set(found.baselines), found.name
        assert found.count == len(FRESH)
        assert found.reference_count > 0
    reached = [found.name for found in evaluation.scores if found.reaches_floor]
    assert len(reached) >= len(evaluation.scores) - 1, "real pictures stand where real pictures stand"
    assert 0.4 < evaluation["c2st/all"].value < 0.6
    assert evaluation["closer-to-training/pixels"].baselines["training"] == 1
    assert evaluation["condition-accuracy/judge"].baselines["chance"] == 0.1


def test_noise_is_far_from_everything(yardstick):
    noise = torch.rand(FRESH.values.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = result_of(evaluate(Values(noise, FRESH.labels), REAL, OPTIONS, yardstick=yardstick))
    short = {found_score.name for found_score in found.scores if moved(found_score)}
    far = {"fd/judge", "kid/judge", "fd/random-conv", "kid/random-conv", "c2st/all", "coverage/judge", "condition-accuracy/judge"}
    assert far <= short


def test_a_quick_score_chooses_as_a_person_would(yardstick):
    generator = torch.Generator().manual_seed(0)
    noisy = (FRESH.values + 0.4 * torch.randn(FRESH.values.shape, generator=generator)).clamp(-1, 1)
    sets = {
        "real": FRESH.values,
        "noisy": noisy,
        "copied": yardstick.sample.values[:350],
        "noise": torch.rand(FRESH.values.shape, generator=generator) * 2 - 1,
    }
    figures = {name: quick_score(values, None, against=yardstick) for name, values in sets.items()}
    assert min(figures, key=lambda name: figures[name]["choice"]) == "real"
    assert figures["copied"]["closer-to-training"] == 1
    assert figures["copied"]["choice"] > figures["noisy"]["choice"]
    labelled = quick_score(FRESH.values, FRESH.labels, against=yardstick)
    assert labelled["condition-accuracy"] > 0.9


def test_captions_are_scored_by_the_picture_that_they_belong_to():
    train, own = Values(part(1150, 1797).values), Values(part(0, 270).values)
    real = Reality(train=[train], validation=part(270, 450), test=part(450, 800), judge=own)
    options = OPTIONS.changed(metrics=("retrieval", "retrieval-rank"), resamples=20)
    targets = torch.arange(100) * 3
    mild = Disturbance(shift=0.03, noise=0.1)
    made = Values(disturbed(real.test.values[targets], mild, torch.Generator().manual_seed(0)), targets=targets)
    found = result_of(evaluate(made, real, options))
    for name in ("retrieval/judge", "retrieval/random-conv", "retrieval-rank/judge"):
        assert found[name].value > 0.9, name
        assert found[name].baselines["shuffled"] < 0.6, name
    assert found["retrieval/judge"].baselines["chance"] == pytest.approx(5 / 350)
    assert found["retrieval/judge"].floor is not None
    assert found["retrieval/judge"].floor.value > 0.9
    assert not any("condition-accuracy" in each.name for each in found.scores)


def test_classes_missing_and_copies_move_the_metrics_that_should(yardstick):
    train = part(1150, 1797)
    sets = corrupted((FRESH.values, FRESH.labels), (train.values, train.labels), seed=0)
    scored = {}
    for name in ("none", "training copied", "a tenth, ten times", "labels shuffled"):
        values, labels = sets[name]
        options = OPTIONS.changed(metrics=("recall", "kid", "condition-accuracy"))
        scored[name] = {each.name: each for each in result_of(evaluate(Values(values, labels), REAL, options, yardstick=yardstick)).scores}
    assert moved(scored["training copied"]["copied/pixels"])
    assert not moved(scored["none"]["copied/pixels"])
    assert moved(scored["a tenth, ten times"]["recall/judge"])
    assert not moved(scored["none"]["recall/judge"])
    assert moved(scored["labels shuffled"]["condition-accuracy/judge"])
    table = calibration_table({name: list(scores.values()) for name, scores in scored.items()})
    assert table.count("\n") == len(scored["none"]) + 1
    assert "**1**" in table


@pytest.mark.parametrize(("height", "width", "channels"), [(8, 8, 1), (32, 20, 3), (100, 64, 4), (5, 7, 2)])
def test_spaces_take_any_size_and_any_channels(height, width, channels):
    values = torch.rand(12, height, width, channels, generator=torch.Generator().manual_seed(0)) * 2 - 1
    judge = result_of(train_judge(values, None, JudgeOptions(steps=3)))
    assert judge.features(values).shape == (12, 64)
    assert judge.probabilities(values) is None
    loaded = Judge.load(judge.tensors(), judge.facts)
    assert torch.equal(loaded.features(values), judge.features(values))
    assert loaded.digest == judge.digest
    assert RandomConv(channels).features(values).isfinite().all()
    moved_about = Disturbance(shift=0.2, zoom=0.2, turn=20, flips=True)
    coloured = Disturbance(noise=0.3, blur=0.5, brightness=0.2, contrast=0.2, tint=0.1)
    for how in (Disturbance(), moved_about, coloured):
        changed = disturbed(values, how, torch.Generator().manual_seed(0))
        assert changed.shape == values.shape
        assert changed.abs().max() <= 1


def test_random_filters_are_the_published_ones():
    assert RandomConv(3).digest == RandomConv(3).digest != RandomConv(3, seed=1).digest
    assert RandomConv(1).digest.startswith("62120bd3ca0f9bb7")


def test_blur_and_shift_are_what_they_are_called():
    picture = torch.zeros(1, 5, 5, 1)
    picture[0, 2, 2] = 1
    assert blurred(picture)[0, 2, 2, 0] == 0.25
    assert blurred(picture).sum() == 1
    assert shifted(picture, 1, -1)[0, 3, 1, 0] == 1


def test_too_little_to_measure_with_is_said(yardstick):
    with pytest.raises(DataError, match="test split holds 3"):
        result_of(prepare(Reality(REAL.train, REAL.validation, part(0, 3), REAL.judge), OPTIONS))
    with pytest.raises(DataError, match="fewer than two"):
        result_of(evaluate(FRESH.rows(torch.arange(1)), REAL, OPTIONS, yardstick=yardstick))
    same = side(FRESH, yardstick.judge)
    with pytest.raises(SpecError, match="no metric called"):
        score("fid", same, same, space="judge", resampling=Resampling(0), floor=None, baselines={})


def own_network(path: Path, *, outside: bool = False) -> Path:
    """Write an ONNX network that averages each channel over the picture."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    wants = onnx.helper.make_tensor_value_info("pictures", onnx.TensorProto.FLOAT, ["n", 3, 16, 16])
    gives = onnx.helper.make_tensor_value_info("features", onnx.TensorProto.FLOAT, ["n", 3, 1, 1])
    weight = onnx.numpy_helper.from_array(np.full((3, 1, 1), 2, np.float32), "two")
    average = onnx.helper.make_node("GlobalAveragePool", ["pictures"], ["mean"])
    nodes = [average, onnx.helper.make_node("Mul", ["mean", "two"], ["features"])]
    graph = onnx.helper.make_graph(nodes, "means", [wants], [gives], [weight])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    if outside:
        onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    else:
        onnx.save(model, path)
    return path


def test_the_users_own_network_is_a_feature_space(tmp_path):
    space = OwnNetwork(NetworkOptions(name="means", path=own_network(tmp_path / "means.onnx"), size=16))
    values = torch.linspace(-1, 1, 4)[:, None, None, None].expand(4, 10, 12, 3)
    assert torch.allclose(space.features(values), 2 * values[:, 0, 0], atol=1e-5)
    assert torch.allclose(space.features(values[..., :1]), 2 * values[:, 0, 0], atol=1e-5), "grey is repeated"
    alpha = torch.cat([values, -torch.ones(4, 10, 12, 1)], -1)
    assert torch.allclose(space.features(alpha), torch.full((4, 3), 2.0), atol=1e-5), "what cannot be seen is white"
    moved_mean = OwnNetwork(NetworkOptions(name="means", path=tmp_path / "means.onnx", size=16, mean=(0.4, 0.5, 0.5)))
    assert moved_mean.digest != space.digest


def test_networks_that_could_run_code_or_hide_weights_are_refused(tmp_path):
    (tmp_path / "net.pt2").write_bytes(b"x")
    (tmp_path / "net.onnx").write_bytes(b"no network")
    with pytest.raises(SpecError, match=r"no \.onnx file"):
        OwnNetwork(NetworkOptions(path=tmp_path / "net.pt2"))
    with pytest.raises(DataError, match="no ONNX network"):
        OwnNetwork(NetworkOptions(path=tmp_path / "net.onnx"))
    with pytest.raises(DataError, match="cannot be read"):
        OwnNetwork(NetworkOptions(path=tmp_path / "absent.onnx"))
    folder = tmp_path / "outside"
    folder.mkdir()
    with pytest.raises(DataError, match="no ONNX network"):
        OwnNetwork(NetworkOptions(path=own_network(folder / "net.onnx", outside=True)))
