"""Bad input through the command line: a clear sentence with its repair, an exit code that is not 0, and nothing half-written."""

import sqlite3
from pathlib import Path

import pytest
from hardship import as_nobody, file_size_limit
from shell import TINY, Shell, draw_shapes, files_below

from karat.store.store import Store

TRAIN = ("train", "shapes", "--given", "label", *TINY)


def kinds_of(shell: Shell) -> list[str]:
    store = Store.open(shell.store)
    kinds = ("source", "snapshot", "run", "evaluation", "release", "asset")
    return [record.kind for kind in kinds for record in store.find(kind)]


def flip_a_byte(path: Path, place: int = -100) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_an_empty_folder(shell: Shell) -> None:
    Path("empty").mkdir()
    assert "holds neither pictures nor texts" in shell.refused("data", "import", "empty")
    assert kinds_of(shell) == []
    assert "nowhere" in shell.refused("data", "import", "nowhere")


def test_one_picture_cannot_be_split_and_trained_on(shell: Shell) -> None:
    draw_shapes(Path("one"), 1)
    shell.well("data", "import", "one")
    assert "Too few samples" in shell.well("data", "snapshot", "latest", "--name", "one").out
    said = shell.refused("train", "one", "--steps", 2, *TINY)
    assert "part of the snapshot is empty" in said
    assert "run" not in kinds_of(shell)


def test_files_that_are_no_pictures(shell: Shell) -> None:
    Path("odd").mkdir()
    Path("odd/empty.png").write_bytes(b"")
    Path("odd/text.png").write_text("This is no picture.")
    draw_shapes(Path("cut"), 1)
    whole = next(Path("cut").rglob("*.png")).read_bytes()
    Path("odd/cut.png").write_bytes(whole[: len(whole) // 2])
    shell.well("data", "import", "odd")
    found = {line["sample"]: line["check"] for line in shell.well("--json", "data", "check", "latest").lines if line["kind"] == "finding"}
    assert found == {"empty.png": "empty", "text.png": "unreadable", "cut.png": "truncated"}
    assert "No sample is left" in shell.refused("data", "snapshot", "latest")
    assert "None of the samples can be read" in shell.refused("data", "preview", "latest")
    assert kinds_of(shell) == ["source"]


def test_a_store_that_may_not_be_written(shell: Shell) -> None:
    with as_nobody():
        assert "permissions" in shell.refused("runs")


def test_a_place_that_cannot_be_written(done: Shell) -> None:
    Path("taken").write_text("a file stands where a folder should be")
    for words in (
        ("generate", "latest", "-o", "taken"),
        ("reproduce", "latest", "-o", "taken"),
        ("data", "preview", "shapes", "-o", "taken/x.png"),
    ):
        assert "taken" in done.refused(*words)
    assert done("release", "latest", "-o", "taken").code != 0
    assert Path("taken").read_text() == "a file stands where a folder should be"


def test_a_full_disk_while_training(done: Shell) -> None:
    before = files_below(done.store)
    with file_size_limit(1 << 20):
        said = done.refused(*TRAIN, "--steps", 3)
    assert "Free some space" in said
    left = {name for name in files_below(done.store) - before if "encoded" not in name and "sqlite" not in name}
    assert not [name for name in left if "state" in name or "/record" in name], left
    done.well(*TRAIN, "--steps", 3)


def test_a_full_disk_while_generating(done: Shell) -> None:
    with file_size_limit(600):
        said = done.refused("generate", "shapes:live", "--seed", 9, "-o", "new")
    assert "Free some space" in said
    assert files_below(Path("new")) == set()


def test_conditions_that_the_model_does_not_know(done: Shell) -> None:
    assert "'squre' was never seen in training. Did you mean 'square'?" in done.refused(
        "generate", "latest", "--label", "squre", "-o", "new"
    )
    assert "knows no condition 'text'" in done.refused("generate", "latest", "--text", "a square", "-o", "new")
    assert "no list of values for 'colour'" in done.refused("generate", "latest", "--each", "colour", "-o", "new")
    assert not Path("new").exists()


def test_data_that_lacks_what_is_asked_for(done: Shell) -> None:
    assert "No sample has a text" in done.refused("train", "shapes", "--given", "text", "--steps", 2, *TINY)


@pytest.mark.disk
def test_a_store_from_a_newer_version(done: Shell) -> None:
    with sqlite3.connect(done.store / "records.sqlite") as connection:
        connection.execute("update store_version set version = 999")
    connection.close()
    assert "written by a newer Karat" in done.refused("runs")


def test_damaged_blobs(done: Shell) -> None:
    store = Store.open(done.store)
    weights = store.find("run")[0].made
    assert weights is not None
    flip_a_byte(store.path(weights))
    assert "is damaged" in done.refused("evaluate", "latest")
    index = store.find("snapshot")[0].made
    assert index is not None
    flip_a_byte(store.path(index), 5)
    assert "is damaged" in done.refused(*TRAIN, "--steps", 9)
    release = store.find("release")[0].made
    assert release is not None
    flip_a_byte(store.path(release))
    assert done("generate", "latest", "-o", "new").code == 6
    assert not Path("new").exists()


@pytest.mark.disk
def test_a_lost_release_file(done: Shell) -> None:
    store = Store.open(done.store)
    release = store.find("release")[0].made
    assert release is not None
    store.path(release).unlink()
    assert "gone from the store" in done.refused("generate", "latest", "-o", "new")
    assert "no file nothing.karat" in done.refused("generate", "nothing.karat", "-o", "new")


def test_two_trainings_on_one_run(done: Shell) -> None:
    folder = done.well("--json", "runs").lines[0]["folder"]
    with Store.open(done.store).lock(f"run-{folder}"):
        told = done(*TRAIN, "--steps", 6)
    assert told.code == 8
    assert "Another process is at work" in told.err


def test_a_loss_that_is_no_number(done: Shell) -> None:
    told = done(*TRAIN, "--steps", 60, "--set", "plan.rate=1e12", "--set", "plan.clip=1e12")
    assert told.code == 7, told.err
    assert "Lower the learning rate" in told.err
    assert sorted(line["state"] for line in done.well("--json", "runs").lines) == ["finished", "unfinished"]
    assert kinds_of(done).count("run") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--set", "family.net.widht=48"), "has no net.widht. Did you mean 'width'?"),
        (("--set", "famly.net.width=48"), "nothing called 'famly.net.width'"),
        (("--set", "plan.rate"), "no name=value"),
        (("--set", "plan.optimizer=adan"), "no optimizer called 'adan'"),
        (("--set", "made.sice=16"), "has no sice. Did you mean 'size'?"),
        (("--minutes", "1"), "give either steps or minutes"),
        (("--spec", "plan.yaml"), "names its own snapshot"),
        (("--through", "latest"), "of the family diffusion"),
    ],
)
def test_settings_that_do_not_exist(done: Shell, words: tuple[str, ...], said: str) -> None:
    before = files_below(done.store)
    assert said in done.refused("train", "shapes", "--steps", 2, *words)
    assert {name for name in files_below(done.store) - before if "sqlite" not in name} == set()


def test_a_plan_that_is_no_plan(done: Shell) -> None:
    Path("plan.yaml").write_text("family: diffusion\n")
    assert "RunSpec snapshot: Field required" in done.refused("train", "--spec", "plan.yaml")
    assert "--steps has no effect" in done.refused("train", "--spec", "plan.yaml", "--steps", 3)
    assert "cannot be read" in done.refused("train", "--spec", "nothing.yaml")


def test_options_of_sampling_and_measuring_that_do_not_exist(done: Shell) -> None:
    assert "no solver called 'heum'. Did you mean 'heun'?" in done.refused("generate", "latest", "--solver", "heum")
    assert "has no stepz" in done.refused("generate", "latest", "--set", "stepz=3", "-o", "new")
    assert "has no sampel" in done.refused("evaluate", "latest", "--set", "sampel=3")
    assert "no check called 'nothing'" in done.refused("data", "snapshot", "latest", "--drop", "nothing")
    assert "has no tests" in done.refused("data", "snapshot", "latest", "--fraction", "tests=1")
    assert kinds_of(done).count("asset") == 6


def test_tampered_files_are_not_proved(done: Shell) -> None:
    asset = sorted(Path("out").glob("*.png"))[0]
    flip_a_byte(asset, -30)
    told = done("verify", *sorted(Path("out").glob("*.png")))
    assert told.code == 5
    assert "1 of 6 files is not proved" in told.err
    flip_a_byte(Path("shapes.karat"))
    assert done("verify", "shapes.karat").code == 5
    assert done("generate", "shapes.karat", "-o", "new").code == 6
    draw_shapes(Path("strange"), 1)
    assert done("verify", next(Path("strange").rglob("*.png"))).code == 5
    assert done("verify", "nothing.png").code == 3


def test_names_that_mean_something_else(done: Shell) -> None:
    assert "is a snapshot, no run" in done.refused("evaluate", "shapes")
    assert "not yet a release" in done.refused("generate", Store.open(done.store).find("run")[0].id[:12])
    assert "Near it are: shapes" in done.refused("train", "shape", "--steps", 2)
    assert "nothing to go back to" in done.refused("alias", "shapes", "--rollback")
    assert "cannot be an alias" in done.refused("alias", "latest", "shapes")
