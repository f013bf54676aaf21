"""What a launch is told about the others: its part of the units, the job's end, the machine, units
that crashed, and signals that cannot wait."""

import json
import os
import re
import signal
import sys
import time

import h5py
import numpy as np
import pytest
from system_program import (
    DONE,
    INTERRUPTED,
    JOURNAL_DONE,
    ROOT,
    UNITS_FAILED,
    USAGE,
    Running,
    attempts_of,
    digest,
    journal,
    must,
    run,
    status_counts,
)
from test_resume import sweep

sys.path.insert(0, str(ROOT / "tests" / "reliability"))
from campaign import crc32c  # noqa: E402

QUARANTINED = 4


def small_sweep(folder):
    """A unit for each of nine places."""
    return sweep(folder, count=3, places=9)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Folder with a config, digest and number of units of the small sweep."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "in").mkdir()
    must("run", small_sweep(folder), "--out", folder / "r.h5")
    return digest(folder / "r.h5"), len(journal(folder / "r.h5"))


def write_slot(results, unit: int, state: int, crashes: int):
    """Changes a slot as a crash does."""
    slot = journal(results)[unit]
    slot[0] = state
    slot[40:44] = np.frombuffer(np.uint32(crashes).tobytes(), np.uint8)
    slot[60:64] = np.frombuffer(crc32c(slot[None, :60]).tobytes(), np.uint8)
    with h5py.File(results) as file:
        offset = file["journal"].id.get_offset()
    with results.open("r+b") as file:
        file.seek(offset + 64 * unit)
        file.write(slot.tobytes())


def test_parts_compute_each_their_own_units(folder, undisturbed):
    expected, units = undisturbed
    config, done = small_sweep(folder), []
    for number in (1, 2, 3):
        part = folder / "out" / f"part{number}.h5"
        must("run", config, "--out", part, "--part", f"{number}/3")
        done.append(journal(part)[:, 0] == JOURNAL_DONE)
        status, counts = status_counts(part)
        assert status == INTERRUPTED
        assert counts["done"] == done[-1].sum() > 0
    assert (np.sum(done, axis=0) == 1).all()
    assert len(done[0]) == units
    # A part is a results file like any other: without --part the rest is done.
    last = folder / "out" / "part3.h5"
    must("run", config, "--out", last)
    assert digest(last) == expected


def test_a_part_that_is_none_is_refused_before_anything_starts(folder):
    outcome = run("run", small_sweep(folder), "--out", folder / "out" / "r.h5", "--part", "4/3")
    assert outcome.status == USAGE
    assert len(outcome.complaints) == 1 and "--part 4/3" in outcome.complaints[0]
    assert not list((folder / "out").iterdir())


@pytest.mark.parametrize("ranks", [None, 2])
def test_no_unit_is_started_that_would_not_end_in_time(folder, undisturbed, ranks):
    expected, _ = undisturbed
    config, results = small_sweep(folder), folder / "out" / "r.h5"
    over = str(int(time.time()) - 5)
    outcome = must(
        "run", config, "--out", results, "--end-by", over, ranks=ranks, status=INTERRUPTED
    )
    assert "before the job does" in outcome.err
    assert (journal(results)[:, 0] == 0).all()
    assert not results.with_suffix(".lock").exists()
    later = str(int(time.time()) + 3600)
    must("run", config, "--out", results, "--end-by", later, ranks=ranks)
    assert digest(results) == expected


def test_slurm_tells_when_the_job_ends(folder):
    config, results = small_sweep(folder), folder / "out" / "r.h5"
    ended = {"SLURM_JOB_END_TIME": str(int(time.time()) - 5)}
    must("run", config, "--out", results, environment=ended, status=INTERRUPTED)


def change_machine(results, isa: str):
    """In the record of the first launch, as another machine would have written it."""
    with h5py.File(results, "r+") as file:
        attempts = file["attempts"]
        facts = json.loads(bytes(attempts[0]).rstrip(b"\0"))
        stored = facts.pop("crc32c")
        assert stored == crc_of_text(facts)
        facts["machine"]["isa"] = isa
        facts["crc32c"] = crc_of_text(facts)
        row = np.zeros(attempts.shape[1], np.uint8)
        text = compact(facts).encode()
        row[: len(text)] = np.frombuffer(text, np.uint8)
        attempts[0] = row


def compact(facts: dict) -> str:
    return json.dumps(facts, sort_keys=True, separators=(",", ":"))


def crc_of_text(facts: dict) -> int:
    return int(crc32c(np.frombuffer(compact(facts).encode(), np.uint8)[None, :])[0])


def test_a_file_of_another_kind_of_machine_is_not_resumed_unless_asked(folder, undisturbed):
    expected, units = undisturbed
    config, results = small_sweep(folder), folder / "out" / "r.h5"
    must("run", config, "--out", results, "--part", "1/2")
    change_machine(results, "another")
    before = journal(results)
    outcome = run("run", config, "--out", results)
    assert outcome.status == USAGE
    assert len(outcome.complaints) == 1
    assert re.search(r"isa: another in launch 1, x86-64", outcome.complaints[0])
    assert "--allow-mixed" in outcome.complaints[0]
    assert (journal(results) == before).all()
    allowed = must("run", config, "--out", results, "--allow-mixed")
    assert "another kind of machine" in allowed.err
    assert digest(results) == expected


def test_a_launch_that_left_nothing_does_not_bind_to_its_machine(folder):
    config, results = small_sweep(folder), folder / "out" / "r.h5"
    over = str(int(time.time()) - 5)
    must("run", config, "--out", results, "--end-by", over, status=INTERRUPTED)
    change_machine(results, "another")
    must("run", config, "--out", results)


def test_quarantined_units_are_left_out_until_asked_for(folder, undisturbed):
    expected, units = undisturbed
    config, results = small_sweep(folder), folder / "out" / "r.h5"
    must("run", config, "--out", results, "--part", "1/2")
    unit = int(np.flatnonzero(journal(results)[:, 0] == 0)[0])
    write_slot(results, unit, QUARANTINED, 3)
    outcome = must("run", config, "--out", results, status=UNITS_FAILED)
    assert "--retry-quarantined" in outcome.err
    status, counts = status_counts(results)
    assert (status, counts["done"], counts["failed"]) == (UNITS_FAILED, units - 1, 1)
    assert run("verify", results).status == UNITS_FAILED
    must("run", config, "--out", results, status=UNITS_FAILED)  # it stays so
    must("run", config, "--out", results, "--retry-quarantined")
    assert digest(results) == expected


def test_a_second_signal_ends_at_once_and_the_file_goes_on(folder):
    config, results = sweep(folder), folder / "out" / "r.h5"
    with Running("run", config, "--out", results) as running:
        running.wait_for_units(results, 3)
        os.kill(running.process.pid, signal.SIGSTOP)  # so that both have come when it looks
        running.signal(signal.SIGTERM)
        running.signal(signal.SIGINT)
        os.kill(running.process.pid, signal.SIGCONT)
        assert running.wait().status == INTERRUPTED
    before = journal(results)
    must("run", config, "--out", results)
    after = journal(results)
    done = before[:, 0] == JOURNAL_DONE
    assert (after[done] == before[done]).all()
    assert (attempts_of(after)[~done] == 2).all()


def test_every_launch_is_on_record(folder):
    config, results = small_sweep(folder), folder / "out" / "r.h5"
    over = str(int(time.time()) - 5)
    must("run", config, "--out", results, "--end-by", over, status=INTERRUPTED)
    must("run", config, "--out", results, ranks=2)
    with h5py.File(results) as file:
        rows = [bytes(row).rstrip(b"\0") for row in file["attempts"][:3]]
    first, second = (json.loads(row) for row in rows[:2])
    assert rows[2] == b""
    assert (first["attempt"], second["attempt"]) == (1, 2)
    assert first["interrupted"] and not second["interrupted"]
    assert (first["ranks"], second["ranks"]) == (1, 2)
    assert first["machine"] == second["machine"]
    assert {"isa", "tensor_library", "mechsweep", "compiler"} <= set(first["machine"])
    for record in (first, second):
        assert {"hosts", "io_component", "started", "ended", "selftest"} <= set(record)
    assert run("status", results).status == DONE
