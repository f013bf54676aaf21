"""slurm/array.sh with a stand-in for sbatch, which writes down its calls."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ARRAY, SWEEP = ROOT / "slurm" / "array.sh", ROOT / "slurm" / "sweep.sh"
SBATCH = """#!/bin/bash
echo "sbatch $*" >> "$LOG"
[ "$(grep -c . "$LOG")" != "$REFUSE" ] || exit 1
echo "$((40 + $(grep -c . "$LOG")))"
"""


class Submission:
    def __init__(self, folder):
        self.folder, self.log = folder, folder / "log"
        self.log.write_text("")
        (folder / "sweep.yaml").write_text("name: sweep\n")
        (folder / "bin").mkdir()
        (folder / "bin" / "sbatch").write_text(SBATCH)
        (folder / "bin" / "sbatch").chmod(0o755)

    def run(self, *arguments, **environment):
        kept = {
            k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "MECHSWEEP", "SITE_"))
        }
        own = {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "LOG": str(self.log),
            "MECHSWEEP_ROOT": str(ROOT),
        }
        done = subprocess.run(
            [str(ARRAY), *arguments],
            cwd=self.folder,
            env=kept | own | environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def calls(self):
        return self.log.read_text().splitlines()


@pytest.fixture
def submission(tmp_path):
    return Submission(tmp_path)


def test_parts_and_the_job_that_merges_them(submission):
    status, out, _ = submission.run("sweep.yaml", "--parts", "3", "--out", "x.h5")
    assert status == 0
    parts, merge = submission.calls()
    assert parts == f"sbatch --parsable --array=1-3 {SWEEP} sweep.yaml --out x.h5 --part-of 3"
    wanted = "sbatch --parsable --dependency=afterok:41 --kill-on-invalid-dep=yes"
    assert merge == f"{wanted} {SWEEP} sweep.yaml --out x.h5 --merge 3"
    assert "41" in out and "42" in out


def test_sizes_and_how_many_at_once(submission):
    site = {"SITE_ACCOUNT": "abc", "SITE_SBATCH_OPTIONS": "--time=5"}
    arguments = ("sweep.yaml", "--parts=8", "--at-once=2", "--", "--ntasks=4")
    assert submission.run(*arguments, **site)[0] == 0
    assert "--time=5 --account=abc --ntasks=4 --array=1-8%2" in submission.calls()[0]
    assert "--time=5 --account=abc --ntasks=4 --dependency" in submission.calls()[1]


def test_a_list_of_configs(submission):
    (submission.folder / "list").write_text("sweep.yaml\nsweep.yaml")
    assert submission.run("--list", "list")[0] == 0
    assert submission.calls() == [f"sbatch --parsable --array=1-2 {SWEEP} --list list"]


def test_configs_of_a_list_are_beside_it(submission):
    (submission.folder / "grid").mkdir()
    (submission.folder / "grid" / "one.yaml").write_text("name: one\n")
    (submission.folder / "grid" / "list").write_text(f"one.yaml\n{submission.folder}/sweep.yaml\n")
    assert submission.run("--list", "grid/list")[0] == 0
    assert submission.calls() == [f"sbatch --parsable --array=1-2 {SWEEP} --list grid/list"]


def test_nothing_waits_for_parts_that_were_not_submitted(submission):
    assert submission.run("sweep.yaml", "--parts", "3", REFUSE="1")[0] == 4
    assert len(submission.calls()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["sweep.yaml"],
        ["sweep.yaml", "--parts", "0"],
        ["sweep.yaml", "--parts", "x"],
        ["none.yaml", "--parts", "2"],
        ["sweep.yaml", "--parts", "2", "--out", "x.txt"],
        ["sweep.yaml", "--parts", "2", "--ntasks=3"],
        ["sweep.yaml", "other.yaml", "--parts", "2"],
        ["--list", "none"],
        ["--list", "bad"],
        ["--list", "empty"],
        ["--list", "sweep.yaml", "--parts", "2"],
    ],
)
def test_bad_usage(submission, arguments):
    (submission.folder / "bad").write_text("sweep.yaml\nnone.yaml\n")
    (submission.folder / "empty").write_text("")
    status, _, err = submission.run(*arguments)
    assert status == 2
    assert err.count("\n") == 1
    assert submission.calls() == []


def test_help(submission):
    status, out, _ = submission.run("--help")
    assert status == 0
    assert out.startswith("Usage: slurm/array.sh CONFIG")
