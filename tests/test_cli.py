"""The command line on real files: the whole chain, what each command says, exit codes, and how long the help takes."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image
from shell import TINY, Shell, draw_shapes, files_below

import karat
from karat.store.store import Store


def test_help_is_quick_and_takes_no_torch() -> None:
    # The processor's time, since other tests run beside this one; it includes the start of Python.
    code = (
        "import sys, time\n"
        "from karat.faces.cli.entry import run\n"
        "code = run(['--help'])\n"
        "assert code == 0\n"
        "heavy = {'torch', 'sklearn', 'scipy', 'numpy', 'PIL', 'sqlalchemy', 'pydantic'} & set(sys.modules)\n"
        "print(sorted(heavy), time.process_time(), file=sys.stderr)"
    )
    found = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr for _ in range(3)]
    assert all(line.startswith("[] ") for line in found), found
    assert min(float(line.split()[-1]) for line in found) < 0.4, found


def test_every_command_and_option_is_explained() -> None:
    import typer.main

    from karat.faces.cli.entry import app

    def commands(group: object, name: str) -> list[tuple[str, object]]:
        below = getattr(group, "commands", None)
        if below is None:
            return [(name, group)]
        return [each for word, command in below.items() for each in commands(command, f"{name} {word}")]

    found = commands(typer.main.get_command(app), "karat")
    assert "karat train" in dict(found)
    assert len(dict(found)) == len(found)
    for name, command in found:
        assert command.help, name  # type: ignore[attr-defined]
        assert command.epilog, f"{name} shows no example"  # type: ignore[attr-defined]
        for parameter in command.params:  # type: ignore[attr-defined]
            assert parameter.help, f"{name} {parameter.name}"


def test_version(shell: Shell) -> None:
    assert shell.well("--version").out == f"karat {karat.__version__}\n"


def test_the_chain_leaves_proven_assets(done: Shell) -> None:
    assets = sorted((done.folder / "out").glob("*.png"))
    assert len(assets) == 6
    assert done.well("verify", *assets, "shapes.karat").out.endswith("7 of 7 files are proved.\n")
    with Image.open("sheet.png") as sheet:
        assert sheet.width > 100
    assert (done.folder / "report" / "report.html").read_text().startswith("<!")
    assert json.loads((done.folder / "report" / "report.json").read_text())["evaluation"]["scores"]


def test_an_asset_is_reproduced_to_the_byte(done: Shell) -> None:
    asset = sorted((done.folder / "out").glob("*.png"))[3]
    done.well("reproduce", asset, "-o", "again")
    assert (done.folder / "again" / asset.name).read_bytes() == asset.read_bytes()


def test_the_same_request_makes_the_same_files(done: Shell) -> None:
    done.well("generate", "shapes:live", "-n", 5, "--label", "square", "--seed", 3, "-o", "one")
    done.well("generate", "shapes.karat", "-n", 2, "--label", "square", "--seed", 3, "-o", "two")
    done.well("generate", "latest", "-n", 3, "--label", "square", "--seed", 3, "--first", 2, "-o", "two")
    assert {path.name: path.read_bytes() for path in Path("one").iterdir()} == {
        path.name: path.read_bytes() for path in Path("two").iterdir()
    }


def test_sampling_options_reach_the_model(done: Shell) -> None:
    made = done.well(
        "--json", "generate", "latest", "--label", "lying", "--steps", 3, "--guidance", 2, "--solver", "euler", "--set", "shift=2"
    )
    asset = next(line["asset"] for line in made.lines if line["kind"] == "made")
    record = done.well("--json", "show", asset).lines[0]["record"]
    assert record["spec"]["sampling"] == {"steps": 3, "guidance": 2.0, "solver": "euler", "shift": 2}


def test_show_walks_both_ways_from_id_alias_and_file(done: Shell) -> None:
    asset = next((done.folder / "out").glob("*.png"))
    up = done.well("--json", "show", asset).lines[0]
    assert [link["kind"] for link in up["came_from"]] == ["release", "run", "evaluation", "snapshot", "source"]
    source = up["came_from"][-1]["id"]
    down = done.well("--json", "show", source[:10]).lines[0]
    assert down["made_counts"] == {"snapshot": 1, "run": 1, "evaluation": 1, "release": 1, "asset": 6}
    release = done.well("--json", "show", "shapes.karat").lines[0]["record"]["id"]
    assert release == done.well("--json", "show", "shapes:live").lines[0]["record"]["id"]
    digest = Store.open(done.store).get(release).spec["digest"]
    assert release == done.well("--json", "show", digest[:12]).lines[0]["record"]["id"]
    assert "It came from" in done.well("show", "shapes:live").out


def test_aliases_move_and_roll_back(done: Shell) -> None:
    first = done.well("--json", "alias", "shapes:live").lines[0]["record"]
    done.well("release", "latest", "--as", "shapes:live", "--title", "Second")
    assert done.well("--json", "alias", "shapes:live").lines[0]["record"] != first
    assert done.well("--json", "alias", "shapes:live", "--rollback").lines[0]["record"] == first
    assert {line["name"] for line in done.well("--json", "alias").lines} == {"shapes", "shapes:live"}


def test_data_commands_say_what_there_is(done: Shell) -> None:
    assert "120 samples" in done.well("data", "check", "shapes").out
    shown = done.well("--json", "data", "show", "shapes").lines[0]
    assert sum(shown["counts"].values()) == 120
    assert set(shown["labels"]["train"]) == {"lying", "standing", "square"}
    done.well("data", "preview", "shapes", "-o", "sheets/preview.png", "-n", 9)
    with Image.open("sheets/preview.png") as sheet:
        assert sheet.height > 100


def test_import_and_snapshot_options_reach_the_records(shell: Shell) -> None:
    draw_shapes(shell.folder / "pictures", 30)
    source = shell.well("--json", "data", "import", "pictures", "--name", "bars", "--origin", "a test", "--licence", "CC0-1.0").result
    spec = shell.well("--json", "show", source).lines[0]["record"]["spec"]
    assert (spec["name"], spec["origin"], spec["licence"]) == ("bars", "a test", "CC0-1.0")
    options = ("--seed", 3, "--drop", "near-duplicate", "--keep", "too-small", "--fraction", "test=0.5", "--set", "min_side=9")
    snapshot = shell.well("--json", "data", "snapshot", source, *options).result
    spec = shell.well("--json", "show", snapshot).lines[0]["record"]["spec"]
    assert (spec["seed"], spec["fractions"]["test"], spec["policy"]["min_side"]) == (3, 0.5, 9)
    assert "near-duplicate" in spec["policy"]["drop"]
    assert "too-small" not in spec["policy"]["drop"]


def test_a_printed_plan_trains_the_same_run(done: Shell) -> None:
    dials = ("train", "shapes", "--given", "label", "--steps", 6, *TINY)
    plan = done.well(*dials, "--dry-run").out
    assert yaml.safe_load(plan)["plan"]["steps"] == 6
    Path("plan.yaml").write_text(plan)
    told = done.well("--json", "train", "--spec", "plan.yaml")
    assert told.lines[-1]["summary"] == "This run was finished before."
    assert told.result == done.well("--json", "train", *dials[1:]).result


def test_runs_are_listed(done: Shell) -> None:
    (line,) = done.well("--json", "runs").lines
    assert (line["state"], line["family"], line["given"], line["step"]) == ("finished", "diffusion", ["label"], 6)
    assert done.well("release", line["folder"][:8]).code == 0


def test_plain_lines_say_what_json_lines_say(shell: Shell) -> None:
    draw_shapes(shell.folder / "pictures", 12)
    plain = shell.well("data", "import", "pictures").out
    assert "Imported 12 pictures" in plain
    assert "\033" not in plain
    events = shell.well("data", "import", "pictures", "--json").lines
    assert [event["kind"] for event in events][-1] == "finished"


def test_chinese_names_and_labels_come_through(shell: Shell) -> None:
    draw_shapes(shell.folder / "图片", 30)
    (shell.folder / "图片" / "square").rename(shell.folder / "图片" / "方块")
    shell.well("data", "import", "图片", "--name", "图片")
    shell.well("data", "snapshot", "latest", "--name", "图片")
    assert "方块" in shell.well("data", "show", "图片").out


def test_ctrl_c_keeps_the_run_and_the_same_command_goes_on(done: Shell) -> None:
    """Interrupt a training in a process of its own; here, go on to the same weights as another store reaches without a break."""
    shutil.copytree(done.store, done.folder / "other")
    words = ["train", "shapes", "--given", "label", "--steps", "40", "--seed", "5", *TINY]
    command = [sys.executable, "-m", "karat.faces.cli", "--json", "--store", str(done.store), *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            if json.loads(line)["kind"] == "progress":
                process.send_signal(signal.SIGINT)
                break
        process.stdout.read()
        assert "Give the same command again to go on." in process.stderr.read()
        assert process.wait() == 130
    assert {line["state"] for line in done.well("--json", "runs").lines} == {"finished", "unfinished"}
    ends = [done.well("--store", done.folder / name, "--json", *words).result for name in ("store", "other")]
    shown = [done.well("--store", done.folder / name, "--json", "show", id) for name, id in zip(("store", "other"), ends, strict=True)]
    assert shown[0].lines[0]["record"]["made"] == shown[1].lines[0]["record"]["made"]


def test_a_reader_that_goes_away_is_no_error(chain: Path) -> None:
    words = [sys.executable, "-m", "karat.faces.cli", "--store", str(chain / "store"), "show", "shapes:live", "--full"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""


def test_global_options_may_stand_behind_the_command(shell: Shell) -> None:
    told = shell("show", "nothing", "--json")
    assert told.code == 4
    assert json.loads(told.err)["error"]["code"] == "not-found"


def test_a_mistake_of_ours_says_how_to_report_it(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("karat.app.chain.runs", lambda store: 1 / 0)
    told = shell("runs")
    assert told.code == 70
    assert "Please report it" in told.err
    assert "Traceback" not in told.err
    assert "Traceback" in shell("runs", "--debug").err


def test_nothing_is_left_in_the_folder_of_a_command(done: Shell) -> None:
    before = files_below(done.folder)
    done.well("runs")
    done.well("show", "latest")
    done.well("data", "show", "shapes")
    after = {name for name in files_below(done.folder) - before if "sqlite" not in name}
    assert after == set()
