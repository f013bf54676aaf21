"""The disk fails, fills up, interrupts or loses power, and the program dies at any call: short
forms of the campaigns in tests/reliability/, which try every call. See docs/testing.md.

A sample is seeded by the day, so that runs on many days try many calls; what fails is printed with
all that is needed to try it again.
"""

import sys
from datetime import date
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "reliability"))
import exhaustive_kills
import fault_tools
import io_faults
import power_loss
import system_program

TODAY = date.today().toordinal()


@pytest.fixture(scope="module")
def workloads(tmp_path_factory):
    """Commands that write files, with their calls counted."""
    base = tmp_path_factory.mktemp("workloads").resolve()
    made = fault_tools.make_workloads(base)
    return [(w, fault_tools.count_calls(w, base / "counted", base / "trace")) for w in made]


def failures_of(workloads, folder, cases_of, check, count):
    """Tries a sample of each workload's cases."""
    wrong = []
    for workload, calls in workloads:
        for case in fault_tools.sample(cases_of(workload, calls), count, TODAY):
            wrong += [f"{case}: {text}" for text in check(case, folder / "out")]
    return wrong


def test_the_library_sees_what_the_program_writes(workloads):
    """Or all the other tests here would try nothing."""
    for workload, calls in workloads:
        for kind in fault_tools.KINDS:
            if workload.is_damaged and kind == "rename":  # mended where it is
                continue
            assert calls[0, kind] > 0, (workload.name, kind)


def test_failing_calls(workloads, folder):
    assert not failures_of(workloads, folder, io_faults.single_faults, io_faults.check, 4)


def test_a_disk_that_stays_full_or_dead_and_storms_of_signals(workloads, folder):
    assert not failures_of(workloads, folder, io_faults.lasting_faults, io_faults.check, 2)


@pytest.mark.parametrize("action", ["EINTR", "short"])
def test_every_other_write_is_interrupted_or_cut(workloads, folder, action):
    for workload, _ in workloads:
        fault = fault_tools.Fault("write", 1, action, repeat="alternate")
        assert not io_faults.check(io_faults.Case(workload, fault), folder / "out")


@pytest.mark.parametrize("error", ["ENOSPC", "EDQUOT"])
def test_a_full_disk_is_called_full(workloads, folder, error):
    words = {"ENOSPC": "No space left on device", "EDQUOT": "Disk quota exceeded"}[error]
    for workload, calls in workloads:
        workload.prepare(folder / "out")
        fault = fault_tools.Fault("write", calls[0, "write"] - 20, error, repeat="onwards")
        command = workload.command(folder / "out")
        outcome = fault_tools.disturbed(command, workload.ranks, fault, folder / "out")
        assert outcome.status == system_program.RESOURCE
        assert words in outcome.complaints[0]
        assert "free some space" in outcome.complaints[0]


def test_killed_at_any_call(workloads, folder):
    def cases(workload, calls):
        return exhaustive_kills.make_cases(workload, calls, TODAY, twice=0.3)

    runs = [(w, calls) for w, calls in workloads if w.name.startswith("run")]
    assert not failures_of(runs, folder, cases, exhaustive_kills.check, 6)


def test_power_cuts(tmp_path):
    options = fault_tools.parser("", 20).parse_args(["--seed", str(TODAY)])
    options.only, options.images_per_cut, options.resume_every = "", 1, 5
    campaign = power_loss.campaign(tmp_path.resolve(), options)
    assert not campaign.failures
    assert sum(campaign.tried.values()) == 20
