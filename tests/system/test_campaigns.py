"""The short forms of campaigns of tests/reliability/ that are programs of their own;
docs/reliability.md has the figures of longer ones."""

import json
import os
import subprocess
import sys

from system_program import ROOT, program

KILLS = 60
CORRUPTIONS = 100
PATIENCE_S = 900


def campaign(name: str, *options) -> str:
    """What it prints; it must end with 0."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "reliability" / name), *map(str, options)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env=os.environ | {"MECHSWEEP": program()},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_sixty_kills(tmp_path):
    table = json.loads(campaign("kill_campaign.py", "--kills", KILLS, "--folder", tmp_path / "k"))
    assert table["kills"] == KILLS
    assert table["sweeps completed"] > 0
    assert table["resumes with committed units"] > 0
    for target in ("worker", "rank 0", "mpirun", "all"):
        assert table["by target"][target] > 0


def test_a_hundred_corruptions():
    assert str(CORRUPTIONS) in campaign("corruptions.py", "--count", CORRUPTIONS, "--jobs", 2)
