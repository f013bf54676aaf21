"""slurm/sweep.sh on a real Slurm cluster: whatever happens to the job, its nodes or Slurm, a sweep
ends with the digest of an undisturbed run."""

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from slurm_system import Cluster, Job, Sweep, why_not
from system_program import RESOURCE, ROOT, USAGE, digest, must

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")

ARRAY = ROOT / "slurm" / "array.sh"
REFUSED_S = 60  # of which Slurm takes most
NODES = 5
ELSEWHERE = "--exclude=n1,n2"  # tests that kill nodes have these two for themselves


@pytest.fixture(scope="module")
def cluster():
    made = Cluster()
    try:
        made.up(NODES)
        yield made
    finally:
        made.control("down")


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """The digest when nothing disturbs the sweep."""
    return alone(Sweep(tmp_path_factory.mktemp("undisturbed") / "s"))


def alone(sweep):
    """The digest of the sweep when nothing but this program runs it."""
    results = sweep.folder / "alone.h5"
    must("run", sweep.config, "--out", results)
    return digest(results)


def small(folder):
    return Sweep(folder / "small", units=6)


@pytest.fixture
def sweep(tmp_path):
    return Sweep(tmp_path / "s")


@pytest.fixture
def kill(cluster):
    """Kills a node, and brings it back after the test."""
    killed = []

    def kill_node(name):
        killed.append(name)
        cluster.control("kill-node", name)

    yield kill_node
    for name in killed:
        cluster.control("resume-node", name)


@pytest.fixture(scope="module", autouse=True)
def meanwhile(cluster, expected, tmp_path_factory):
    """What needs no node of its own runs while other tests wait for Slurm to find a node dead."""
    with ThreadPoolExecutor(3) as pool:
        yield {
            name: pool.submit(
                scenario, cluster, Sweep(tmp_path_factory.mktemp(name) / "s"), expected
            )
            for name, scenario in SCENARIOS.items()
        }


@pytest.mark.parametrize("launcher", ["srun", "mpirun"])
def test_a_node_dies(cluster, sweep, expected, kill, launcher):
    job = cluster.sweep(sweep, "--nodelist=n1,n2", SITE_LAUNCHER=launcher)
    sweep.interrupt(job)
    kill("n2")
    job.thaw()
    job.must_complete()
    assert digest(sweep.results) == expected
    assert "these still answer: n1\n" in job.said()
    assert job.field("Restarts") == "0"  # inside the allocation
    assert "(start 0, on n1)" in job.said()


def test_the_first_node_dies(cluster, sweep, expected, kill):
    """And the job's script with it, so that Slurm has to start the job anew."""
    job = cluster.sweep(sweep, "--nodelist=n1,n2")
    sweep.interrupt(job)
    kill("n1")
    job.wait("PENDING")
    cluster.control("resume-node", "n1")
    job.must_complete()
    assert digest(sweep.results) == expected
    assert job.field("Restarts") == "1"


def test_the_lock_of_a_dead_node_does_not_hold(cluster, sweep, expected, kill):
    first = cluster.sweep(sweep, "--nodelist=n2")
    sweep.interrupt(first)
    kill("n2")
    assert '"n2"' in sweep.results.with_suffix(".lock").read_text()
    cluster.must("scancel", first.number)
    cluster.sweep(sweep, "--nodelist=n1").must_complete()
    assert digest(sweep.results) == expected


def test_preempted(cluster, sweep, expected):
    """A job that goes first takes the nodes; Slurm sends TERM and some time to make room."""
    job = cluster.sweep(sweep, "--nodelist=n1,n2", "--partition=low")
    sweep.interrupt(job)
    wanted = ("--nodelist=n1,n2", "--nodes=2", "--exclusive", "--wrap=true")
    other = cluster.submit(sweep.folder, *wanted)
    job.thaw()
    other.must_complete()
    job.must_complete()
    assert digest(sweep.results) == expected
    assert job.field("Restarts") == "1"


def time_limit(cluster, sweep, expected):
    """The ranks cannot stop in time; the job puts itself back into the queue all the same. Slurm
    knows no shorter limit than this minute."""
    options = (ELSEWHERE, "--nodes=1", "--time=1", "--signal=B:USR1@10")
    job = cluster.sweep(sweep, *options, SITE_END_MARGIN="0")
    sweep.interrupt(job)
    job.must_complete()
    assert digest(sweep.results) == expected
    assert int(job.field("Restarts")) >= 1
    assert "SIGUSR1" in job.said() and "do not stop in time" in job.said()


def undisturbed(cluster, sweep, expected, launcher, nodes):
    job = cluster.sweep(sweep, ELSEWHERE, f"--nodes={nodes}", SITE_LAUNCHER=launcher)
    job.must_complete()
    assert digest(sweep.results) == expected
    status = json.loads(must("status", "--json", sweep.results).out)
    assert len(status["by_rank"]) == nodes
    assert not sweep.results.with_suffix(".launches").exists()


def requeue_by_hand(cluster, sweep, expected):
    job = cluster.sweep(sweep, ELSEWHERE, "--nodes=2")
    sweep.interrupt(job)
    cluster.must("scontrol", "requeue", job.number)
    job.thaw()
    job.must_complete()
    assert digest(sweep.results) == expected
    assert job.field("Restarts") == "1"


def scancel(cluster, sweep, expected):
    """It does not come back by itself, and goes on when it is submitted again."""
    job = cluster.sweep(sweep, ELSEWHERE, "--nodes=2")
    sweep.interrupt(job)
    cluster.must("scancel", job.number)
    job.thaw()
    assert job.wait() == "CANCELLED"
    assert job.field("Restarts") == "0"
    assert sweep.done() < sweep.UNITS
    cluster.sweep(sweep, ELSEWHERE, "--nodes=2").must_complete()
    assert digest(sweep.results) == expected


def successor(cluster, sweep, expected):
    """Where requeueing is disabled, another job goes on."""
    job = cluster.sweep(sweep, ELSEWHERE, "--nodes=2", "--no-requeue", SITE_REQUEUE="no")
    sweep.interrupt(job)
    cluster.must("scancel", "--batch", "--signal=USR1", job.number)
    job.thaw()
    assert job.wait() == "FAILED"
    number = re.search(r"job (\d+) goes on", job.said())[1]
    other = Job(cluster, number, sweep.folder)
    assert other.field("NumNodes") == "2"
    assert other.field("ExcNodeList") == "n[1-2]"
    assert other.wait() == "COMPLETED", next(sweep.folder.glob(f"*-{number}.out")).read_text()
    assert digest(sweep.results) == expected


def second_job_on_the_file(cluster, sweep, expected):
    first = cluster.sweep(sweep, "--nodelist=n4")
    sweep.interrupt(first)
    start = time.monotonic()
    second = cluster.sweep(sweep, "--nodelist=n5")
    assert second.wait() == "FAILED"
    waited = time.monotonic() - start
    first.thaw()
    assert second.field("ExitCode") == f"{RESOURCE}:0"
    log = next(sweep.folder.glob(f"r.{second.number}-0-1.log")).read_text()
    assert re.search(rf"host n4, process \d+, job {first.number}\b", log), log
    assert waited < REFUSED_S
    first.must_complete()
    assert digest(sweep.results) == expected


def list_of_configs(cluster, other, _):
    """One is complete and reduced by a job of its own; the other config is refused."""
    sweep = small(other.folder)
    (sweep.folder / "broken.yaml").write_text("name: broken\n")
    (sweep.folder / "list").write_text("sweep.yaml\nbroken.yaml\n")
    options = ("--", ELSEWHERE, "--output=%A-%a.out", "--nodes=2", "--ntasks-per-node=1")
    out = cluster.must(
        str(ARRAY), "--list", "list", *options, cwd=sweep.folder, SITE_REDUCE_OPTIONS=ELSEWHERE
    )
    array = re.search(r"job (\d+): 2 sweeps", out)[1]
    assert Job(cluster, f"{array}_1", sweep.folder).wait() == "COMPLETED"
    broken = Job(cluster, f"{array}_2", sweep.folder)
    assert broken.wait() == "FAILED"
    assert broken.field("ExitCode") == f"{USAGE}:0"
    said = (sweep.folder / f"{array}-1.out").read_text()
    reducing = Job(cluster, re.search(r"job (\d+) will reduce it", said)[1], sweep.folder)
    reducing.must_complete()
    assert reducing.field("NumNodes") == "1"
    results = sweep.folder / "results" / "sweep" / "sweep.h5"
    assert digest(results) == alone(sweep)
    assert results.with_suffix(".summary.h5").exists()


def array_of_parts(cluster, other, _):
    sweep = small(other.folder)
    options = ("--", ELSEWHERE, "--output=%j.out")
    arguments = ("sweep.yaml", "--out", "r.h5", "--parts", "3", *options)
    out = cluster.must(str(ARRAY), *arguments, cwd=sweep.folder, SITE_REDUCE="inline")
    last = Job(cluster, re.search(r"job (\d+): puts them together", out)[1], sweep.folder)
    last.must_complete()
    parts = sorted(path.name for path in sweep.folder.glob("r.part-*.h5"))
    assert parts == [f"r.part-{k}-of-3.h5" for k in (1, 2, 3)]
    assert digest(sweep.results) == alone(sweep)
    assert sweep.results.with_suffix(".summary.h5").exists()


SCENARIOS = {
    "time_limit": time_limit,
    "srun_2": partial(undisturbed, launcher="srun", nodes=2),
    "srun_3": partial(undisturbed, launcher="srun", nodes=3),
    "mpirun_2": partial(undisturbed, launcher="mpirun", nodes=2),
    "requeue_by_hand": requeue_by_hand,
    "scancel": scancel,
    "successor": successor,
    "second_job_on_the_file": second_job_on_the_file,
    "list_of_configs": list_of_configs,
    "array_of_parts": array_of_parts,
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_meanwhile(meanwhile, name):
    meanwhile[name].result()
