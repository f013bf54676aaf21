"""Log mode: every node appends to a segment of its own, and rank 0 puts the units into the file.
Whatever is killed when, and whichever way a launch stores its units, the digest is the same."""

import json
import os
import random
import shutil
import signal
import subprocess
import time

import h5py
import pytest
from stage_sweeps import heads, swept, top
from system_program import (
    CHECKPOINTS,
    DONE,
    INTERRUPTED,
    JOURNAL_DONE,
    PATIENCE_S,
    Running,
    attempts_of,
    digest,
    journal,
    must,
    program,
    run,
    status_counts,
    write_config,
)

HEADER_BYTES = 160  # docs/results-file.md, "Log mode"


def sweep(folder, store, count=24, places=60):
    """Many small units; two seconds of work by default."""
    return write_config(
        folder / "in" / f"{store}.yaml",
        [{"id": "m", "path": str(CHECKPOINTS / "llama-random")}],
        [{"id": "p", "kind": "repeated_random", "count": count, "period": 20, "repeats": 3,
          "prefix": 0}],
        [
            {"id": f"h{place}", "kind": "head_ablation", "operation": "zero", "positions": [place]}
            for place in range(places)
        ],
        seed=5,
        execution={"threads_per_rank": 1, "store": store},
    )  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Digest, number of units and seconds of the sweep in shared mode, undisturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "in").mkdir()
    start = time.monotonic()
    must("run", sweep(folder, "shared"), "--out", folder / "r.h5")
    seconds = time.monotonic() - start
    return digest(folder / "r.h5"), len(journal(folder / "r.h5")), seconds


def store_of(results, attempt=-1) -> dict:
    with h5py.File(results, "r", locking=False) as file:
        records = [bytes(row).rstrip(b"\0") for row in file["attempts"][()]]
    return json.loads([record for record in records if record][attempt])["store"]


def segments(results) -> list:
    return sorted(results.with_suffix(".log").glob("*.seg"))


def in_log(results) -> int:
    """Records in the log, whole or not; quicker than asking the program."""
    return sum(path.read_bytes().count(b"mechsweep-unit1\n") for path in segments(results))


def wait_for_log(process, results, units):
    until = time.monotonic() + PATIENCE_S
    while process.poll() is None and time.monotonic() < until:
        if in_log(results) > units:  # the last one may not be whole yet
            return
        time.sleep(0.002)
    raise AssertionError(f"no {units} units in the log within {PATIENCE_S} s")


def killed(folder, results, units, ranks=None):
    """Starts the sweep in log mode and kills all of it when so many units are done. On a busy
    machine it may get to its end first; then once more, from the beginning."""
    config = sweep(folder, "log")
    for _ in range(10):
        with Running("run", config, "--out", results, ranks=ranks) as running:
            wait_for_log(running.process, results, units)
            pids = running.ranks() if ranks else [running.process.pid]
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            if running.wait().status != DONE and segments(results):
                return
        results.unlink()
    raise AssertionError("it was never killed before its end")


@pytest.mark.parametrize("ranks", [None, 2, 4])
def test_same_digest_and_nothing_left(folder, undisturbed, ranks):
    expected, units, _ = undisturbed
    results = folder / "out" / "r.h5"
    must("run", sweep(folder, "log"), "--out", results, ranks=ranks)
    assert digest(results) == expected
    assert status_counts(results) == (DONE, status_counts(results)[1])
    assert (journal(results)[:, 0] == JOURNAL_DONE).sum() == units
    assert {path.name for path in (folder / "out").iterdir()} == {"r.h5", "r.meta"}
    store = store_of(results)
    assert store["mode"] == "log"
    assert store["nodes"] == 1
    assert store["file_system"]


def test_auto_is_shared_on_one_node(folder):
    results = folder / "out" / "r.h5"
    must("run", sweep(folder, "auto", 3, 2), "--out", results, ranks=2)
    assert store_of(results)["mode"] == "shared"


@pytest.mark.parametrize("ranks", [None, 2])
def test_units_of_a_killed_run_wait_in_the_log(folder, undisturbed, ranks):
    expected, units, _ = undisturbed
    results = folder / "out" / "r.h5"
    killed(folder, results, units // 3, ranks)
    status, counts = status_counts(results)
    assert status == INTERRUPTED
    assert 0 < counts["done"] <= units
    assert counts["waiting_in_log"] == counts["done"]
    assert "waiting" in run("status", results).out
    assert (journal(results)[:, 0] == JOURNAL_DONE).sum() == 0
    verified = run("verify", results)
    assert verified.status == INTERRUPTED
    assert f"{counts['done']} units wait in" in verified.out
    # merge alone folds them.
    assert run("merge", results).status == INTERRUPTED
    assert not results.with_suffix(".log").exists()
    before = journal(results)
    assert (before[:, 0] == JOURNAL_DONE).sum() == counts["done"]
    assert status_counts(results)[1]["waiting_in_log"] == 0
    must("run", sweep(folder, "log"), "--out", results, ranks=ranks)
    after = journal(results)
    done = before[:, 0] == JOURNAL_DONE
    assert (after[done] == before[done]).all()
    assert attempts_of(after)[~done].min() > attempts_of(before)[done].max()
    assert digest(results) == expected


def test_kills_at_random_moments_in_either_mode(folder, undisturbed):
    expected, units, seconds = undisturbed
    results = folder / "out" / "r.h5"
    moments = random.Random()
    done = 0
    for cycle in range(8):
        store = moments.choice(["log", "log", "shared"])
        ranks = moments.choice([None, 2, 4])
        config = sweep(folder, store)
        with Running("run", config, "--out", results, ranks=ranks) as running:
            time.sleep(moments.uniform(0.0, 1.2 * seconds))
            pids = running.ranks() if ranks else []
            for pid in pids if cycle % 2 else pids[:1]:
                os.kill(pid, signal.SIGKILL)
            if not pids:
                running.signal(signal.SIGKILL)
            running.wait()
        if not results.exists():
            continue
        now = status_counts(results)[1]["done"]
        assert done <= now <= units, "a unit that was done is lost"
        done = now
        assert run("verify", results).status in (DONE, INTERRUPTED)
    must("run", sweep(folder, moments.choice(["log", "shared"])), "--out", results, ranks=2)
    assert digest(results) == expected
    assert {path.name for path in (folder / "out").iterdir()} == {"r.h5", "r.meta"}


def test_damage_in_a_segment_costs_its_unit_only(folder, undisturbed):
    expected, units, _ = undisturbed
    results = folder / "out" / "r.h5"
    killed(folder, results, units // 3)
    before = status_counts(results)[1]["done"]
    (segment,) = segments(results)
    content = bytearray(segment.read_bytes())
    assert content.startswith(b"mechsweep-unit1\n")
    content[HEADER_BYTES + 11] ^= 4
    segment.write_bytes(content)
    verified = run("verify", results)
    assert verified.status == INTERRUPTED
    assert f"{before - 1} units wait in" in verified.out
    must("run", sweep(folder, "log"), "--out", results)
    slots = journal(results)
    assert (attempts_of(slots) == 1).sum() == before - 1
    assert digest(results) == expected


def test_a_foreign_segment_is_left_alone(folder):
    results, other = folder / "out" / "r.h5", folder / "out" / "other.h5"
    killed(folder, other, 2)
    config = sweep(folder, "log", 3, 2)
    must("run", config, "--out", results)
    expected = digest(results)
    results.with_suffix(".log").mkdir()
    shutil.copy(segments(other)[0], results.with_suffix(".log") / "x.00000000.9.seg")
    again = must("run", config, "--out", results)
    assert "another sweep" in again.err
    assert digest(results) == expected
    assert segments(results)


def test_a_log_of_a_file_that_is_gone_does_not_count(folder, undisturbed):
    expected, units, _ = undisturbed
    results = folder / "out" / "r.h5"
    killed(folder, results, units // 4)
    results.unlink()
    must("run", sweep(folder, "log"), "--out", results)
    assert digest(results) == expected
    assert (attempts_of(journal(results)) == 1).all()


def can_unshare() -> bool:
    tried = subprocess.run(["unshare", "-u", "hostname", "x"], capture_output=True, check=False)
    return tried.returncode == 0


@pytest.mark.skipif(not can_unshare(), reason="needs root: a host name of its own by unshare -u")
def test_every_node_has_a_segment_of_its_own(folder, undisturbed):
    """Two made-up nodes on one machine."""
    expected, units, _ = undisturbed
    results = folder / "out" / "r.h5"
    config = sweep(folder, "log")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMPI_", "SLURM_"))}
    environment |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}

    def node(name):
        script = f'hostname {name}; exec "$0" "$@"'
        return ["-n", "2", "unshare", "-u", "sh", "-c", script, program(), "run", str(config),
                "--out", str(results)]  # fmt: skip

    command = ["mpirun", "--oversubscribe", *node("alpha"), ":", *node("beta")]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
    )
    try:
        wait_for_log(process, results, units // 3)
        names = {path.name.split(".")[0] for path in segments(results)}
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.communicate()
    assert names == {"alpha", "beta"}
    must("run", config, "--out", results, ranks=2)
    assert digest(results) == expected


def test_a_selection_reads_what_others_have_in_the_log(folder):
    """Units of later stages read earlier ones back, on any rank, in this launch or a later one."""
    experiments = [heads(), top()]
    expected = digest(swept(folder, experiments, "shared", execution={"store": "shared"}))
    for ranks in (None, 2, 3):
        results = swept(folder, experiments, f"log{ranks}", ranks=ranks, execution={"store": "log"})
        assert digest(results) == expected
    config, results = folder / "in" / "log2.yaml", folder / "out" / "resumed.h5"
    for ranks in (2, None, 2):
        with Running("run", config, "--out", results, ranks=ranks) as running:
            time.sleep(random.uniform(0.3, 1.0))
            for pid in running.ranks() if ranks else [running.process.pid]:
                os.kill(pid, signal.SIGKILL)
            running.wait()
    must("run", config, "--out", results, ranks=2)
    assert digest(results) == expected
