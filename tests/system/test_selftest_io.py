"""`mechsweep selftest --io`: says whether ranks may share a results file in a folder."""

import shutil
import subprocess
from pathlib import Path

import pytest
from system_program import DONE, RESOURCE, run

CHECKS = ("names made", "rows of all ranks", "records of all ranks", "a renamed", "a lock")


def results_of(outcome) -> dict:
    """Which of the checks passed."""
    lines = outcome.out.splitlines()
    return {
        check: line.startswith("ok")
        for check in CHECKS
        for line in lines
        if line.startswith(("ok", "FAILED")) and check in line
    }


@pytest.mark.parametrize("ranks", [None, 2, 4])
def test_a_local_disk_is_fit(folder, ranks):
    outcome = run("selftest", "--io", folder / "out", ranks=ranks)
    assert outcome.status == DONE, outcome.err + outcome.out
    assert results_of(outcome) == dict.fromkeys(CHECKS, True)
    assert "verdict: shared mode is safe here" in outcome.out
    assert "fdatasync of a row" in outcome.out
    assert list((folder / "out").iterdir()) == []


def test_caches_of_whole_pages_are_noticed(folder):
    """Rows of neighbours are lost, as on a network file system; the log is not."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler, "a C compiler is needed"
    library = folder / "in" / "stale_pages.so"
    source = Path(__file__).with_name("stale_pages.c")
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    stale = {"LD_PRELOAD": str(library), "STALE_PAGES": "rows.h5"}
    outcome = run("selftest", "--io", folder / "out", ranks=2, environment=stale)
    assert outcome.status == RESOURCE, outcome.err + outcome.out
    passed = results_of(outcome)
    assert not passed.pop("rows of all ranks")
    assert passed == dict.fromkeys(passed, True)
    assert "verdict: use log mode" in outcome.out
    assert list((folder / "out").iterdir()) == []


def test_a_folder_that_is_not_there(folder):
    outcome = run("selftest", "--io", folder / "none")
    assert outcome.status == RESOURCE
    assert len(outcome.complaints) == 1
    assert "none" in outcome.complaints[0]
