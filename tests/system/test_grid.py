"""`mechsweep grid`: one config with `grid:` becomes several, which run like any other."""

import h5py
import pytest
from system_program import CHECKPOINTS, DONE, RESOURCE, USAGE, must, run

GRID = """\
name: scores_{task}_{period}
grid:
  over:
    task: {repeat: {scores: [induction, duplicate_token]}, once: {scores: [previous_token]}}
    period: [4, 8]
  without:
    - {task: once, period: 4}
models:
  - {id: tiny, path: ../checkpoint}
prompts:
  - {id: p, kind: repeated_random, count: 2, period: "{period}", repeats: 2, prefix: 0}
experiments:
  - {id: e, kind: attention_scores, scores: "{task.scores}"}
"""
NAMES = ["scores_repeat_4", "scores_repeat_8", "scores_once_8"]


@pytest.fixture
def config(folder):
    (folder / "checkpoint").symlink_to(CHECKPOINTS / "llama-random")
    path = folder / "in" / "grid.yaml"
    path.write_text(GRID)
    return path


def test_every_config_of_a_grid_runs(folder, config):
    grid = folder / "some" / "where"
    assert "3 configs" in must("grid", config, "--out", grid).out
    assert (grid / "all_configs.list").read_text().split() == [f"{name}.yaml" for name in NAMES]
    for name in NAMES:
        results = folder / "out" / f"{name}.h5"
        must("run", grid / f"{name}.yaml", "--out", results)
        with h5py.File(results) as file:
            assert file["prompts/p/tiny/tokens"].shape == (2, 1 + 2 * int(name[-1]))
            assert ("previous_token" in file["runs/e/tiny/p"]) == ("once" in name)


def test_the_same_grid_again_changes_nothing(folder, config):
    must("grid", config, "--out", folder / "grid")
    before = {path.name: path.read_bytes() for path in (folder / "grid").iterdir()}
    must("grid", config, "--out", folder / "grid")
    assert {path.name: path.read_bytes() for path in (folder / "grid").iterdir()} == before


def test_what_is_wrong_in_one_config_is_named_and_nothing_is_written(folder, config):
    config.write_text(GRID.replace("[4, 8]", "[4, 0]").replace("once, period: 4", "once"))
    outcome = run("grid", config, "--out", folder / "grid")
    assert outcome.status == USAGE
    assert "scores_repeat_0" in outcome.err
    assert "grid.yaml:11" in outcome.err
    assert not (folder / "grid").exists()


@pytest.mark.parametrize("command", ["plan", "run", "prompts"])
def test_a_grid_is_expanded_before_it_runs(folder, config, command):
    out = ["--out", folder / "out" / "r.h5"] if command == "run" else []
    outcome = run(command, config, *out)
    assert outcome.status == USAGE
    assert "mechsweep grid CONFIG --out FOLDER" in outcome.err
    assert len(outcome.complaints) == 1


def test_files_of_others_are_not_replaced(folder, config):
    (folder / "grid").mkdir()
    mine = folder / "grid" / f"{NAMES[1]}.yaml"
    mine.write_text("name: mine\n")
    outcome = run("grid", config, "--out", folder / "grid")
    assert outcome.status == RESOURCE
    assert str(mine) in outcome.err
    assert [path.name for path in (folder / "grid").iterdir()] == [mine.name]
    mine.unlink()
    assert run("grid", config, "--out", folder / "grid").status == DONE
