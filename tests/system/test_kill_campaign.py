"""The short form of tests/reliability/kill_campaign.py: docs/reliability.md has the long one's
figures."""

import json
import os
import subprocess
import sys

from system_program import ROOT, program

KILLS = 60
PATIENCE_S = 900


def test_sixty_kills(tmp_path):
    campaign = subprocess.run(
        [
            sys.executable,
            str(ROOT / "tests" / "reliability" / "kill_campaign.py"),
            "--kills",
            str(KILLS),
            "--folder",
            str(tmp_path / "kills"),
        ],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env=os.environ | {"MECHSWEEP": program()},
        check=False,
    )
    assert campaign.returncode == 0, campaign.stdout + campaign.stderr
    table = json.loads(campaign.stdout)
    assert table["kills"] == KILLS
    assert table["sweeps completed"] > 0
    assert table["resumes with committed units"] > 0
    for target in ("worker", "rank 0", "mpirun", "all"):
        assert table["by target"][target] > 0
