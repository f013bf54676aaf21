"""A run may end at any moment, in any way: what was done stays done, and the result is the same."""

import os
import random
import re
import shutil
import signal
import time

import h5py
import numpy as np
import pytest
from system_program import (
    CHECKPOINTS,
    DONE,
    INPUT,
    INTERRUPTED,
    JOURNAL_DONE,
    RESOURCE,
    USAGE,
    Running,
    attempts_of,
    digest,
    journal,
    must,
    run,
    status_counts,
    write_config,
)

PROMPTS, PLACES = 60, 24  # two seconds or more of work
WAIT_FOR_LOCK_S = 10
LOOKS_FOR_STOP_S = 1.1  # the stop file is looked for once a second


def sweep(folder, name="sweep.yaml", count=PROMPTS, places=PLACES, model=None, seed=5, first=(0,)):
    """A config of many small runs, so that it has many units however runs are cut: heads removed at
    one position after the other."""
    positions = [first, *([place] for place in range(1, places))]
    return write_config(
        folder / "in" / name,
        [{"id": "m", "path": str(model or CHECKPOINTS / "llama-random")}],
        [
            {
                "id": "p",
                "kind": "repeated_random",
                "count": count,
                "period": 20,
                "repeats": 3,
                "prefix": 0,
            }
        ],
        [
            {"id": f"h{i}", "kind": "head_ablation", "operation": "zero", "positions": where}
            for i, where in enumerate(positions)
        ],
        seed=seed,
        execution={"threads_per_rank": 1},
    )


def small_sweep(folder, name="sweep.yaml", **other):
    return sweep(folder, name, **({"count": 3, "places": 2} | other))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Digest, number of units and seconds of the sweep when nothing disturbs it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    for name in ("in", "out"):
        (folder / name).mkdir()
    start = time.monotonic()
    must("run", sweep(folder), "--out", folder / "r.h5")
    seconds = time.monotonic() - start
    return digest(folder / "r.h5"), len(journal(folder / "r.h5")), seconds


def check_only_the_rest_was_done(before: np.ndarray, after: np.ndarray):
    """Slots of done units are untouched; the rest was done by a later attempt."""
    done = before[:, 0] == JOURNAL_DONE
    assert (after[:, 0] == JOURNAL_DONE).all()
    assert (after[done] == before[done]).all()
    if done.any() and not done.all():
        assert attempts_of(after)[~done].min() > attempts_of(before)[done].max()


def finish(config, results, expected, ranks=None):
    """Runs to the end, and checks that nothing was done twice."""
    before = journal(results)
    must("run", config, "--out", results, ranks=ranks)
    check_only_the_rest_was_done(before, journal(results))
    assert digest(results) == expected
    assert not results.with_suffix(".lock").exists()


@pytest.mark.parametrize("ranks", [None, 2])
def test_kill_at_random_moments(folder, undisturbed, ranks):
    """Anything from before the file is there to after the last unit; of two ranks, only one."""
    expected, units, seconds = undisturbed
    config, results = sweep(folder), folder / "out" / "r.h5"
    moments = random.Random()
    killed_in_the_middle = 0
    for _ in range(4):
        before = journal(results) if results.exists() else None
        with Running("run", config, "--out", results, ranks=ranks) as running:
            time.sleep(moments.uniform(0.0, seconds))
            pids = running.ranks() if ranks else [running.process.pid]
            if pids:
                os.kill(moments.choice(pids), signal.SIGKILL)
            else:
                running.signal(signal.SIGKILL)
            status = running.wait().status
        if not results.exists():
            continue
        after = journal(results)
        done = after[:, 0] == JOURNAL_DONE
        if status not in (DONE,) and 0 < done.sum() < units:
            killed_in_the_middle += 1
            assert status_counts(results)[1]["done"] == done.sum()
            assert run("verify", results).status == INTERRUPTED
        if before is not None:
            earlier = before[:, 0] == JOURNAL_DONE
            assert (after[earlier] == before[earlier]).all()
    if results.exists():
        finish(config, results, expected, ranks)
    else:
        must("run", config, "--out", results, ranks=ranks)
        assert digest(results) == expected
    left = {path.name for path in (folder / "out").iterdir()}
    assert left == {"r.h5", "r.meta"}


@pytest.mark.parametrize("ranks, share", [(None, 0.02), (None, 0.8), (2, 0.5)])
def test_kill_in_the_middle(folder, undisturbed, ranks, share):
    expected, units, _ = undisturbed
    config, results = sweep(folder), folder / "out" / "r.h5"
    with Running("run", config, "--out", results, ranks=ranks) as running:
        running.wait_for_units(results, max(1, int(share * units)))
        os.kill(running.ranks()[-1] if ranks else running.process.pid, signal.SIGKILL)
        assert running.wait().status != DONE
    assert 0 < (journal(results)[:, 0] == JOURNAL_DONE).sum() < units
    finish(config, results, expected, ranks)


def test_started_alone_and_resumed_on_ranks(folder, undisturbed):
    expected, units, _ = undisturbed
    config, results = sweep(folder), folder / "out" / "r.h5"
    with Running("run", config, "--out", results) as running:
        running.wait_for_units(results, units // 3)
        running.signal(signal.SIGTERM)
        assert running.wait().status == INTERRUPTED
    finish(config, results, expected, ranks=4)


def test_status_while_running(folder, undisturbed):
    _, units, _ = undisturbed
    config, results = sweep(folder), folder / "out" / "r.h5"
    with Running("run", config, "--out", results) as running:
        running.wait_for_units(results, 3)
        live_status, live = status_counts(results)
        running.signal(signal.SIGSTOP)  # so that it cannot end in the meantime
        status, counts = status_counts(results)
        text = run("status", results)
        running.signal(signal.SIGCONT)
        running.wait()
    assert live_status in (INTERRUPTED, DONE)
    assert 3 <= live["done"] <= counts["done"]
    assert status == text.status == INTERRUPTED
    assert counts["units"] == units
    assert counts["done"] + counts["left"] == units
    assert counts["failed"] == counts["skipped"] == 0
    assert counts["by_rank"] == {"0": counts["done"]}
    assert 0 < counts["share_of_work"] < 1
    assert re.search(rf"units +{units}: \d+ done, \d+ left, 0 failed, 0 skipped", text.out)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_signals_stop_it_in_good_order(folder, undisturbed, number):
    expected, _, _ = undisturbed
    config, results = sweep(folder), folder / "out" / "r.h5"
    with Running("run", config, "--out", results) as running:
        running.wait_for_units(results, 3)
        running.signal(number)
        outcome = running.wait()
    assert outcome.status == INTERRUPTED, outcome.err
    assert not results.with_suffix(".lock").exists()
    assert status_counts(results)[0] == INTERRUPTED
    finish(config, results, expected)


@pytest.mark.parametrize("to_one_rank", [False, True])
def test_signal_under_mpirun(folder, undisturbed, to_one_rank):
    """USR1 to mpirun reaches all ranks; a signal to one rank stops all of them."""
    expected, _, _ = undisturbed
    config, results = sweep(folder), folder / "out" / "r.h5"
    with Running("run", config, "--out", results, ranks=2) as running:
        running.wait_for_units(results, 3)
        if to_one_rank:
            os.kill(running.ranks()[1], signal.SIGTERM)
        else:
            running.signal(signal.SIGUSR1)
        outcome = running.wait()
    assert outcome.status == INTERRUPTED, outcome.err
    assert status_counts(results)[0] == INTERRUPTED
    finish(config, results, expected, ranks=2)


@pytest.mark.parametrize("ranks", [None, 2])
def test_stop_file(folder, undisturbed, ranks):
    expected, _, _ = undisturbed
    config, results = sweep(folder), folder / "out" / "r.h5"
    results.with_suffix(".stop").touch()  # a left-over of an earlier launch does not count
    with Running("run", config, "--out", results, ranks=ranks) as running:
        running.wait_for_units(results, 3)
        pids = running.ranks() if ranks else [running.process.pid]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        results.with_suffix(".stop").touch()
        time.sleep(LOOKS_FOR_STOP_S)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        assert running.wait().status == INTERRUPTED
    finish(config, results, expected, ranks)
    assert not results.with_suffix(".stop").exists()


@pytest.mark.parametrize("ranks", [None, 2])
def test_second_run_is_refused_and_told_who_holds_the_file(folder, undisturbed, ranks):
    expected, _, _ = undisturbed
    config, results = sweep(folder), folder / "out" / "r.h5"
    with Running("run", config, "--out", results) as running:
        running.wait_for_units(results, 3)
        os.kill(running.process.pid, signal.SIGSTOP)  # so that it cannot end before the other
        try:
            start = time.monotonic()
            second = run("run", config, "--out", results, ranks=ranks)
            waited = time.monotonic() - start
        finally:
            os.kill(running.process.pid, signal.SIGCONT)
        assert second.status == RESOURCE
        assert len(second.complaints) == 1
        assert f"process {running.process.pid}" in second.complaints[0]
        assert waited < WAIT_FOR_LOCK_S
        assert results.with_suffix(".lock").exists()
        assert running.wait().status == DONE
    assert digest(results) == expected


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A small finished sweep whose inputs can be changed: (folder, results)."""
    folder = tmp_path_factory.mktemp("small")
    for name in ("in", "out"):
        (folder / name).mkdir()
    shutil.copytree(CHECKPOINTS / "llama-random", folder / "in" / "model")
    must("run", small_sweep(folder, model=folder / "in" / "model"), "--out", folder / "r.h5")
    return folder, folder / "r.h5"


def changed_model(folder):
    shutil.copytree(CHECKPOINTS / "llama-random", folder / "in" / "other", dirs_exist_ok=True)
    weights = folder / "in" / "other" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-3] ^= 1  # in the last tensor
    weights.write_bytes(content)
    return folder / "in" / "other"


CHANGES = {
    "seed": (lambda folder: {"seed": 6}, r"seed.*5.*6"),
    "prompts": (lambda folder: {"count": 4}, r"prompts.*count.*3.*4"),
    "model": (lambda folder: {"model": changed_model(folder)}, r"models.*m.*hash"),
    "parameters": (lambda folder: {"first": "all"}, r"experiments.*h0.*positions.*0.*all"),
}


@pytest.mark.parametrize("what, ranks", [*((what, None) for what in CHANGES), ("seed", 2)])
def test_another_sweep_does_not_resume_the_file(small, what, ranks):
    folder, results = small
    change, pattern = CHANGES[what]
    before = results.read_bytes()
    other = {"model": folder / "in" / "model"} | change(folder)
    outcome = run("run", small_sweep(folder, "other.yaml", **other), "--out", results, ranks=ranks)
    assert outcome.status == USAGE
    assert len(outcome.complaints) == 1
    assert re.search(pattern, outcome.complaints[0]), outcome.complaints[0]
    assert results.read_bytes() == before
    assert not results.with_suffix(".lock").exists()


def test_name_execution_and_output_do_not_count_as_another_sweep(small):
    folder, results = small
    path = small_sweep(folder, "same.yaml", model=folder / "in" / "model")
    text = (
        path.read_text()
        .replace('"test"', '"renamed"')
        .replace('"threads_per_rank": 1', '"threads_per_rank": 2')
    )
    path.write_text(text)
    slots = journal(results)
    must("run", path, "--out", results)
    assert (journal(results) == slots).all()


def test_a_corrupted_payload_is_noticed_and_computed_again(folder):
    config, results = small_sweep(folder), folder / "out" / "r.h5"
    must("run", config, "--out", results)
    expected, before = digest(results), journal(results)
    with h5py.File(results) as file:
        offset = file["runs/h0/m/p/loss"].id.get_offset()
    content = bytearray(results.read_bytes())
    content[offset + 5] ^= 0x10
    results.write_bytes(content)
    verified = run("verify", results)
    assert verified.status == INPUT
    assert "damaged" in verified.out and "digest" not in verified.out
    must("run", config, "--out", results)
    after = journal(results)
    assert digest(results) == expected
    again = attempts_of(after) > attempts_of(before)
    assert again.sum() == 1
    assert (after[~again] == before[~again]).all()


def test_damaged_metadata_is_noticed(folder):
    config, results = small_sweep(folder), folder / "out" / "r.h5"
    must("run", config, "--out", results)
    content = bytearray(results.read_bytes())
    place = content.index(b"head_ablation")
    content[place] ^= 1
    results.write_bytes(content)
    verified = run("verify", results)
    assert verified.status == INPUT
    assert "damaged" in verified.out + verified.err


def test_a_lock_of_the_dead_does_not_hold(folder):
    config, results = small_sweep(folder), folder / "out" / "r.h5"
    results.with_suffix(".lock").write_text('{"host": "elsewhere", "pid": 1}\n')
    must("run", config, "--out", results)
    assert not results.with_suffix(".lock").exists()


def test_companions_of_a_file_that_is_gone_do_not_matter(folder):
    config, results = small_sweep(folder), folder / "out" / "r.h5"
    must("run", config, "--out", results)
    expected = digest(results)
    results.unlink()
    results.with_suffix(".stop").touch()
    must("run", config, "--out", results)
    assert digest(results) == expected
    assert attempts_of(journal(results)).max() == 1


def test_finished_file_is_left_alone(folder):
    config, results = small_sweep(folder), folder / "out" / "r.h5"
    must("run", config, "--out", results)
    before = journal(results)
    must("run", config, "--out", results, ranks=2)
    assert (journal(results) == before).all()


def test_reduce_is_resumable_and_follows_the_results(folder):
    """A summary of an unfinished file is replaced once more is done."""
    config, results = sweep(folder), folder / "out" / "r.h5"
    with Running("run", config, "--out", results) as running:
        running.wait_for_units(results, 20)
        running.signal(signal.SIGTERM)
        assert running.wait().status == INTERRUPTED
    must("reduce", results)
    part = digest(folder / "out" / "r.summary.h5")
    must("run", config, "--out", results)
    must("reduce", results)
    whole = digest(folder / "out" / "r.summary.h5")
    assert part != whole
    must("reduce", results)
    assert digest(folder / "out" / "r.summary.h5") == whole
