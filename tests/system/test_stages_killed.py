"""Stages that wait for others, when units fail or processes are killed at any moment."""

import contextlib
import os
import random
import signal
import time

import h5py
import pytest
from stage_sweeps import heads, prompts, selection_of, swept, top
from system_program import (
    DONE,
    INTERRUPTED,
    JOURNAL_DONE,
    UNITS_FAILED,
    Running,
    digest,
    export_rows,
    journal,
    model_entry,
    must,
    run,
    status_counts,
    write_config,
)

QUARANTINED = 4
CRASHES_TO_QUARANTINE = 3
PAIRS = 5  # of runs that choose and runs that take, in the sweeps that are killed
KILLS = 5


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def quarantined_slot() -> bytes:
    slot = bytearray(64)
    slot[0], slot[4], slot[40] = QUARANTINED, 1, CRASHES_TO_QUARANTINE
    slot[60:] = crc32c(bytes(slot[:60])).to_bytes(4, "little")
    return bytes(slot)


def start_over(results, quarantined):
    """As if nothing had been computed yet but for a unit that crashed three times."""
    with h5py.File(results) as file:
        offset, units = file["journal"].id.get_offset(), len(file["journal"])
        chosen = file["runs/top/llama-random/p/selection/layer"]
        chosen_at, chosen_bytes = chosen.id.get_offset(), chosen.id.get_storage_size()
    with open(results, "r+b") as file:
        file.seek(chosen_at)
        file.write(b"\xff" * chosen_bytes)
        file.seek(offset)
        file.write(bytes(64 * units))
        file.seek(offset + 64 * quarantined)
        file.write(quarantined_slot())


@pytest.mark.parametrize("ranks", [None, 3])
def test_without_its_numbers_nothing_is_chosen(folder, ranks):
    """The sweep ends, says why, and is whole again once the numbers are there."""
    experiments = [heads(), heads("fine"), top(k=[1, 2], at_least=-1e6), top("ok", source="fine")]
    results = swept(folder, experiments)
    expected = digest(results)
    start_over(results, quarantined=0)
    outcome = run("run", folder / "in" / "r.yaml", "--out", results, ranks=ranks)
    assert outcome.status == UNITS_FAILED
    assert "no heads are chosen, since 1 of the units of run 'heads/llama-random/p'" in outcome.err
    assert "(quarantined)" in outcome.err
    assert outcome.err.count("its heads were not chosen: top/llama-random/p decide") == 2
    status, counts = status_counts(results)
    assert status == UNITS_FAILED
    assert counts["left"] == counts["skipped"] == 0
    assert counts["failed"] == 4  # the quarantined one, the choice, and an edit for each k
    assert run("verify", results).status == UNITS_FAILED
    rows = export_rows(results)
    assert not selection_of(rows)
    assert len(selection_of(rows, "ok")) == 4
    must("reduce", results)
    # Again without change: it fails the same way and does not do more.
    assert run("run", folder / "in" / "r.yaml", "--out", results).status == UNITS_FAILED
    must("run", folder / "in" / "r.yaml", "--out", results, "--retry-quarantined", ranks=ranks)
    assert status_counts(results)[0] == DONE
    assert digest(results) == expected


def killed_sweep(folder):
    """Pairs of runs that choose and runs that take, some of whose units are left out."""
    experiments = []
    for i in range(PAIRS):
        experiments.append(heads(f"h{i}", positions=[i]))
        experiments.append(top(f"t{i}", source=f"h{i}", k=[1, 2, 3, 12], at_least=0.0))
    return write_config(
        folder / "in" / "killed.yaml",
        [model_entry("llama-random")],
        [prompts(count=60, period=20)],
        experiments,
        execution={"threads_per_rank": 1},
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Digest, journal states and seconds of killed_sweep() when nothing disturbs it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "in").mkdir()
    start = time.monotonic()
    must("run", killed_sweep(folder), "--out", folder / "r.h5")
    seconds = time.monotonic() - start
    return digest(folder / "r.h5"), journal(folder / "r.h5")[:, 0], seconds


def selections(results):
    """Of the runs whose choice is journalled: everything that was written."""
    with h5py.File(results, "r", locking=False) as file:
        done = file["journal"][:, 0] == JOURNAL_DONE
        decides = done & (file["units/prompt_end"][()] == 0)
        chosen = {}
        for number in file["units/run"][()][decides]:
            stored = file[f"runs/t{number // 2}/llama-random/p/selection"]
            chosen[number] = {name: stored[name][()].tobytes() for name in stored}
        return chosen


def kill_one(running, ranks, moments):
    pids = [] if ranks else [running.process.pid]
    while not pids and running.process.poll() is None:  # mpirun has not started them yet
        pids = running.ranks()
    with contextlib.suppress(ProcessLookupError):  # it may have ended by itself
        if pids:
            os.kill(moments.choice(pids), signal.SIGKILL)
    running.wait()


@pytest.mark.parametrize("seed", range(2))
def test_a_selection_never_changes_whatever_is_killed(folder, undisturbed, seed):
    """Kills at random moments, another number of ranks each time."""
    expected, states, seconds = undisturbed
    config, results = killed_sweep(folder), folder / "out" / "r.h5"
    moments = random.Random(seed)
    known = {}
    for _ in range(KILLS):
        ranks = moments.choice([None, 2, 3])
        with Running("run", config, "--out", results, ranks=ranks) as running:
            time.sleep(moments.uniform(0.2, 1.0) * seconds)
            kill_one(running, ranks, moments)
        if not results.exists():
            continue
        now = selections(results)
        assert {run: now[run] for run in known} == known
        known = now
    must("run", config, "--out", results, ranks=moments.choice([None, 2, 4]))
    final = selections(results)
    assert len(final) == PAIRS
    assert {run: final[run] for run in known} == known
    assert digest(results) == expected
    assert (journal(results)[:, 0] == states).all()


@pytest.mark.parametrize("ranks", [None, 2])
def test_kills_at_each_end_of_a_stage(folder, undisturbed, ranks):
    """As soon as a run is done that another one waits for, and as soon as the choice is made."""
    expected, states, _ = undisturbed
    config, results = killed_sweep(folder), folder / "out" / "r.h5"
    moments = random.Random(7)
    for units in range(1, len(states), 4):
        with Running("run", config, "--out", results, ranks=ranks) as running:
            until = time.monotonic() + 60
            while time.monotonic() < until and running.process.poll() is None:
                if results.exists() and (journal(results)[:, 0] != 0).sum() >= units:
                    break
            if running.process.poll() is None:
                kill_one(running, ranks, moments)
    if (journal(results)[:, 0] == 0).any():
        assert status_counts(results)[0] == INTERRUPTED
    must("run", config, "--out", results)
    assert digest(results) == expected
    assert (journal(results)[:, 0] == states).all()
