"""Copies are found however they were disguised; pictures that nobody copied are as near to training as held-out ones are."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from karat.material.metrics.judge import JudgeOptions, train_judge
from karat.material.metrics.scores import Resampling, result_of
from karat.material.trust.copying import Memory
from karat.material.trust.originality import FACTS_FILE, TENSORS_FILE, OriginalityIndex, OriginalityOptions, build_index, plant
from karat.words.errors import DataError, ReleaseError, SpecError
from karat.words.events import Warned


def digits() -> torch.Tensor:
    from sklearn.datasets import load_digits

    order = torch.randperm(1797, generator=torch.Generator().manual_seed(0))
    return torch.from_numpy(load_digits().images).float()[..., None][order] / 8 - 1


DIGITS = digits()
TRAIN, HELD_OUT, TEST, FRESH, OWN = DIGITS[:800], DIGITS[800:1000], DIGITS[1000:1300], DIGITS[1300:1500], DIGITS[1500:]
NAMES = [f"数字/{row}.png" for row in range(800)]


@pytest.fixture(scope="module")
def index() -> OriginalityIndex:
    return result_of(build_index(TRAIN.split(300), HELD_OUT, OriginalityOptions(), names=NAMES))


def test_planted_copies_are_found_and_their_originals_named(index):
    for kind, copies in plant(TRAIN[:100], seed=1).items():
        verdicts = index.verdicts(copies)
        assert np.mean([verdict.copied for verdict in verdicts]) >= 0.9, kind
        assert np.mean([verdict.nearest == NAMES[row] for row, verdict in enumerate(verdicts)]) >= 0.9, kind
    assert index.verdicts(TRAIN[:1])[0].distance == pytest.approx(0, abs=2e-3)
    assert min(index.facts["detected"].values()) >= 0.9


def test_real_pictures_are_seldom_called_copies(index):
    verdicts = index.verdicts(TEST)
    assert np.mean([verdict.copied for verdict in verdicts]) <= 0.05
    assert index.facts["false_alarms"] <= 0.02
    assert 0.3 < np.median([verdict.rank for verdict in verdicts]) < 0.7, "a fresh picture ranks among the held-out ones"


def test_copies_are_counted_in_a_set(index):
    memory = Memory(index, TEST, Resampling(100))
    fresh, copied, mixed = (memory.measure(made) for made in (FRESH, TRAIN[:200], torch.cat([FRESH[:100], TRAIN[:100]])))
    closer = fresh["closer-to-training"]
    assert closer.low <= 0.5 <= closer.high
    assert copied["closer-to-training"].value == 1
    assert copied["copied"].value == 1
    assert copied["authenticity"].value == 0
    assert mixed["closer-to-training"].low > 0.55
    assert 0.45 <= mixed["copied"].value <= 0.56


@pytest.mark.parametrize("trained", [150, 800])
def test_no_memory_is_one_half_whatever_the_sizes(trained):
    shares = []
    for seed in range(6):
        order = torch.randperm(1797, generator=torch.Generator().manual_seed(seed))
        train, held_out, test, made = DIGITS[order].split([trained, 100, 300, 1797 - trained - 400])
        index = result_of(build_index([train], held_out, OriginalityOptions(shift=0, mirror=False)))
        shares.append(Memory(index, test, Resampling(0)).measure(made[:300])["closer-to-training"].value)
    assert np.mean(shares) == pytest.approx(0.5, abs=0.04)


def test_the_index_ships_as_safetensors_and_json(index, tmp_path):
    index.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [FACTS_FILE, TENSORS_FILE]
    loaded = OriginalityIndex.load(tmp_path)
    assert loaded.verdicts(TEST[:20]) == index.verdicts(TEST[:20])
    assert loaded.parts() == index.parts()
    assert loaded.name(3) == "数字/3.png"
    assert loaded.picture(3).shape == (6, 6, 1)
    assert (tmp_path / TENSORS_FILE).stat().st_size < 60_000


def test_an_index_with_a_judge_brings_it_along(tmp_path):
    judge = result_of(train_judge(OWN, None, JudgeOptions(steps=20)))
    index = result_of(build_index([TRAIN], HELD_OUT, OriginalityOptions(), judge=judge))
    loaded = OriginalityIndex.from_parts(index.parts())
    assert loaded.judge is not None
    assert loaded.judge.digest == judge.digest
    verdict = loaded.verdicts(TRAIN[5:6])[0]
    assert verdict == index.verdicts(TRAIN[5:6])[0]
    assert verdict.feature_nearest == "5"
    assert verdict.feature_distance == pytest.approx(0, abs=0.5)


def test_a_picture_does_not_change_the_verdict_of_another(index):
    together = index.nearest(TEST[:130])
    alone = index.nearest(TEST[129:130])
    assert float(together.distance[129]) == pytest.approx(float(alone.distance[0]), abs=1e-4)
    assert int(together.row[129]) == int(alone.row[0])


def test_a_leak_between_the_splits_is_told_and_spoils_no_verdict():
    events = build_index([TRAIN], torch.cat([HELD_OUT, TRAIN[:20]]), OriginalityOptions())
    told = []
    while True:
        try:
            told.append(next(events))
        except StopIteration as end:
            index = end.value
            break
    assert any(isinstance(event, Warned) and "20 held-out pictures" in event.message for event in told)
    assert index.facts["leaks"] == 20
    assert index.facts["detected"]["noised"] >= 0.9


LARGE_SET = """
import resource, torch
from karat.material.metrics.scores import result_of
from karat.material.trust.originality import OriginalityOptions, build_index
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
def blocks(count):
    for seed in range(count):
        yield torch.rand(500, 32, 32, 3, generator=torch.Generator().manual_seed(seed)) * 2 - 1
held_out = torch.rand(20, 32, 32, 3) * 2 - 1
few = result_of(build_index(blocks(2), held_out, OriginalityOptions(shift=0)))
before = peak()
index = result_of(build_index(blocks(40), held_out, OriginalityOptions(shift=0)))
assert len(index) == 20_000
assert index.tensors["pictures"].dtype == torch.uint8
print(peak() - before)
"""


def test_large_sets_stream_in_flat_memory():
    ran = subprocess.run([sys.executable, "-c", LARGE_SET], capture_output=True, text=True, check=True)
    grown = float(ran.stdout)
    assert grown < 200, f"{grown:.0f} MB for 20,000 pictures that are 246 MB as numbers"


def test_what_cannot_be_an_index_is_refused(index, tmp_path):
    with pytest.raises(ReleaseError, match="no originality index"):
        OriginalityIndex.load(tmp_path)
    parts = index.parts()
    with pytest.raises(ReleaseError, match="cannot be read"):
        OriginalityIndex.from_parts({**parts, TENSORS_FILE: parts[TENSORS_FILE][:100]})
    newer = {**json.loads(parts[FACTS_FILE]), "format": 99}
    with pytest.raises(ReleaseError, match="format"):
        OriginalityIndex.from_parts({**parts, FACTS_FILE: json.dumps(newer).encode()})
    with pytest.raises(DataError, match="needs training pictures"):
        result_of(build_index([], HELD_OUT, OriginalityOptions()))
    with pytest.raises(DataError, match="2 names for 800"):
        result_of(build_index([TRAIN], HELD_OUT, OriginalityOptions(), names=["a", "b"]))
    with pytest.raises(DataError, match="Every held-out picture"):
        result_of(build_index([TRAIN], TRAIN[:10], OriginalityOptions()))
    with pytest.raises(DataError, match="no picture"):
        index.nearest(TRAIN[:0])
    with pytest.raises(SpecError):
        OriginalityOptions.from_values({"quantile": 0})
