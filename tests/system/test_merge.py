"""`mechsweep merge`: results of one sweep that ran as several files become one."""

import random
import signal
import time

import pytest
from system_program import (
    CHECKPOINTS,
    DONE,
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
    write_config,
)

PARTS = 3


def sweep(folder, seed=5, count=40, places=12):
    return write_config(
        folder / "in" / f"sweep{seed}.yaml",
        [{"id": "m", "path": str(CHECKPOINTS / "llama-random")}],
        [{"id": "p", "kind": "repeated_random", "count": count, "period": 20, "repeats": 3,
          "prefix": 0}],
        [
            {"id": f"h{place}", "kind": "head_ablation", "operation": "zero", "positions": [place]}
            for place in range(places)
        ],
        seed=seed,
        execution={"threads_per_rank": 1},
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Digest and number of units of the sweep in one file."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "in").mkdir()
    must("run", sweep(folder), "--out", folder / "r.h5")
    return digest(folder / "r.h5"), len(journal(folder / "r.h5"))


def part(folder, number):
    return folder / "out" / f"part{number}.h5"


def run_parts(folder):
    for number in range(1, PARTS + 1):
        must("run", sweep(folder), "--out", part(folder, number), "--part", f"{number}/{PARTS}")
    return [part(folder, number) for number in range(1, PARTS + 1)]


def test_parts_make_the_whole(folder, whole):
    expected, units = whole
    parts = run_parts(folder)
    before = [path.read_bytes() for path in parts]
    merged = folder / "out" / "r.h5"
    assert run("merge", merged, *parts[:2]).status == INTERRUPTED
    outcome = must("merge", merged, *parts)
    assert f"{units} done, 0 left" in outcome.out
    assert digest(merged) == expected
    assert [path.read_bytes() for path in parts] == before
    assert set(attempts_of(journal(merged))) == {1, 2, 3}
    names = {path.name for path in (folder / "out").iterdir()}
    assert names == {"r.h5", "r.meta"} | {f"part{i}.{e}" for i in (1, 2, 3) for e in ("h5", "meta")}
    # Once more, and a run that finds nothing to do.
    slots = journal(merged)
    assert "0 units" in must("merge", merged, *parts).out
    must("run", sweep(folder), "--out", merged)
    assert (journal(merged) == slots).all()


def test_parts_and_merges_that_are_killed(folder, whole):
    expected, _ = whole
    moments = random.Random()
    for number in range(1, PARTS + 1):
        arguments = ("run", sweep(folder), "--out", part(folder, number))
        arguments += ("--part", f"{number}/{PARTS}")
        ranks = moments.choice([None, 2])
        with Running(*arguments, ranks=ranks) as running:
            time.sleep(moments.uniform(0.1, 1.5))
            running.signal(signal.SIGKILL)
            running.wait()
        until = time.monotonic() + 30
        while time.monotonic() < until:  # ranks of a dead mpirun need a moment to go
            outcome = run(*arguments)
            if outcome.status != RESOURCE:
                break
            time.sleep(0.2)
        assert outcome.status == DONE, outcome.err
    parts = [part(folder, number) for number in range(1, PARTS + 1)]
    merged = folder / "out" / "r.h5"
    for _ in range(12):
        with Running("merge", merged, *parts) as running:
            time.sleep(moments.uniform(0.0, 0.25))
            running.signal(signal.SIGKILL)
            running.wait()
        if merged.exists():
            assert run("verify", merged).status in (DONE, INTERRUPTED)
    must("merge", merged, *parts)
    assert digest(merged) == expected


def test_an_unfinished_part_leaves_units(folder, whole):
    _, units = whole
    config = sweep(folder)
    with Running("run", config, "--out", part(folder, 1)) as running:
        running.wait_for_units(part(folder, 1), 3)
        running.signal(signal.SIGSTOP)
        refused = run("merge", folder / "out" / "r.h5", part(folder, 1))
        running.signal(signal.SIGCONT)
        running.signal(signal.SIGTERM)
        running.wait()
    assert refused.status == RESOURCE
    assert "part1.lock is held" in refused.err
    done = (journal(part(folder, 1))[:, 0] == JOURNAL_DONE).sum()
    outcome = run("merge", folder / "out" / "r.h5", part(folder, 1))
    assert outcome.status == INTERRUPTED
    assert f"{done} done, {units - done} left" in outcome.out


def test_other_sweeps_are_refused_with_the_difference(folder):
    one, two = folder / "out" / "1.h5", folder / "out" / "2.h5"
    must("run", sweep(folder, 1, 2, 1), "--out", one)
    must("run", sweep(folder, 2, 2, 1), "--out", two)
    merged = folder / "out" / "r.h5"
    outcome = run("merge", merged, one, two)
    assert outcome.status == USAGE
    assert "seed: 1 in the file, 2 now" in outcome.err
    assert len(outcome.complaints) == 1
    assert not merged.exists()
    assert not merged.with_suffix(".lock").exists()
