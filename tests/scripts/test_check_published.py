"""check_published.sh: its usage, and what becomes of a program that fails; no model is run."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "check_published.sh"
INSPECT = "architecture llama (of some kind)\\nn_layers 30\\nn_heads 9\\nd_model 576\\n"


@pytest.fixture
def check(tmp_path):
    """Runs the script with a program that prints INSPECT and then does as it is told."""

    def call(*arguments, inspect=INSPECT, run="exit 0"):
        program = tmp_path / "program"
        program.write_text(
            f"#!/bin/bash\ncase $1 in inspect) printf '{inspect}' ;; run) {run} ;; esac\n"
        )
        program.chmod(0o755)
        done = subprocess.run(
            [SCRIPT, *map(str, arguments)],
            env=os.environ | {"MECHSWEEP": str(program)},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    return call


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "a model"
    folder.mkdir()
    (folder / "x.gguf").write_text("")
    return folder


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ([], 2, "MODEL_DIR is missing"),
        (["--else", "x"], 2, "unknown argument '--else'"),
        (["a", "b"], 2, "'b' is a second"),
        (["a", "--out"], 2, "--out needs a folder"),
        (["/none"], 3, "/none does not exist"),
    ],
)
def test_usage_is_one_sentence(check, arguments, status, said):
    code, out, err = check(*arguments)
    assert (code, out, err.count("\n")) == (status, "", 1)
    assert said in err


def test_help_is_the_comment(check):
    code, out, _ = check("--help")
    assert code == 0 and "Exit status: 0 all facts hold" in out


def test_a_folder_with_several_files_is_refused(check, model, tmp_path):
    (model / "y.gguf").write_text("")
    code, _, err = check(model, "--out", tmp_path / "out")
    assert (code, err.count("\n")) == (2, 1)
    assert "2 GGUF files" in err


def test_an_unknown_model_is_refused_before_anything_runs(check, model, tmp_path):
    code, _, err = check(
        model, "--out", tmp_path / "out", inspect=INSPECT.replace("30", "31"), run="exit 70"
    )
    assert (code, err.count("\n")) == (2, 1)
    assert "no published facts are known for this model (architecture llama, n_layers 31" in err


def test_a_run_that_fails_is_told(check, model, tmp_path):
    code, out, err = check(model, "--out", tmp_path / "out", run="echo no memory is left; exit 4")
    assert code == 4
    assert "no memory is left" in err and "the run ended with status 4" in err
    config = (tmp_path / "out" / "smollm2-135m.yaml").read_text(encoding="utf-8")
    assert f'path: "{model.resolve()}/x.gguf"' in config
