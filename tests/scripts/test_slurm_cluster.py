"""scripts/slurm_cluster.sh: what comes up, what a dead node leaves, that nothing stays behind."""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "slurm_cluster.sh"
FOLDER = Path("/run/mechsweep-slurm")
PATIENCE_S = 120

sys.path.insert(0, str(ROOT / "tests" / "system"))
from slurm_system import why_not  # noqa: E402

needs_slurm = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")


def cluster(*arguments, **options):
    done = subprocess.run(
        [str(SCRIPT), *arguments],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=PATIENCE_S,
        check=False,
        **options,
    )
    return done.returncode, done.stdout, done.stderr


def slurm(*command):
    environment = os.environ | {"SLURM_CONF": str(FOLDER / "slurm.conf")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    return done.stdout.strip()


def state_of(node):
    return slurm("sinfo", "-h", "-N", "-p", "main", "-n", node, "-o", "%T")


def wait_for(condition, what):
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until, what
        time.sleep(0.1)


def our_processes():
    """Command lines that name the cluster's folder, of processes that are more than a zombie."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if str(FOLDER) in words:
            found[int(path.name)] = words
    return found


def check_nothing_is_left():
    assert our_processes() == {}
    assert not FOLDER.exists()
    assert str(FOLDER) not in Path("/proc/mounts").read_text()


@pytest.fixture
def clean():
    yield
    cluster("down")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["start"],
        ["up", "0"],
        ["up", "x"],
        ["up", "--cpus"],
        ["up", "--cpus", "-1"],
        ["up", "--memory", "3"],
        ["kill-node"],
        ["down", "n1"],
    ],
)
def test_bad_usage(arguments):
    status, _, err = cluster(*arguments)
    assert status == 2
    assert err.startswith("slurm_cluster: ") and err.count("\n") == 1


def test_help():
    status, out, _ = cluster("--help")
    assert status == 0
    assert out.startswith("Usage: scripts/slurm_cluster.sh up")


@pytest.mark.parametrize("command", [["up"], ["down"], ["kill-node", "n1"]])
def test_without_root(tmp_path, command):
    (tmp_path / "id").write_text("#!/bin/sh\necho 1000\n")
    (tmp_path / "id").chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    status, _, err = cluster(*command, env=environment)
    assert status == 4
    assert "root" in err and err.count("\n") == 1


@needs_slurm
def test_a_life(clean):
    status, out, err = cluster("up", "2", "--cpus", "3")  # returns, so nobody holds our pipes
    assert status == 0, err
    assert f"export SLURM_CONF={FOLDER}/slurm.conf" in out.splitlines()
    assert slurm("sinfo", "-h", "-N", "-p", "main", "-o", "%N %T %c") == "n1 idle 3\nn2 idle 3"
    hosts = slurm("srun", "--nodes=2", "--ntasks-per-node=1", "uname", "-n").split()
    assert sorted(hosts) == ["n1", "n2"]

    status, _, err = cluster("up", "2")
    assert status == 4 and "down" in err
    status, _, err = cluster("kill-node", "n3")
    assert status == 2 and "n1 n2" in err

    before = our_processes()
    assert cluster("kill-node", "n2")[0] == 0
    killed = [line for pid, line in before.items() if pid not in our_processes()]
    assert len(killed) >= 2 and all("n2" in line for line in killed), killed
    wait_for(lambda: state_of("n2").startswith("down"), "n2 is not found down")
    assert state_of("n1") == "idle"
    status, out, _ = cluster("status")
    assert status == 0 and "n2         not running" in out
    assert cluster("resume-node", "n2")[0] == 0
    assert state_of("n2") == "idle"
    assert slurm("srun", "--nodelist=n2", "uname", "-n") == "n2"

    assert cluster("down")[0] == 0
    check_nothing_is_left()
    assert cluster("status")[0] == 1
    assert cluster("down")[0] == 0  # once more does no harm


@needs_slurm
def test_a_running_job_does_not_outlive_the_cluster(clean):
    assert cluster("up", "1")[0] == 0
    slurm("sbatch", "--output=/dev/null", f"--wrap=bash -c 'sleep 600; true' {FOLDER}")
    wait_for(lambda: any("sleep" in line for line in our_processes().values()), "no task runs")
    assert cluster("down")[0] == 0
    check_nothing_is_left()


@needs_slurm
def test_a_failed_start_leaves_nothing(clean):
    with socket.create_server(("127.0.0.1", 16819)):  # the port of n2
        status, _, err = cluster("up", "2")
    assert status == 4
    assert "n2 did not start" in err
    check_nothing_is_left()


@needs_slurm
def test_a_machine_that_runs_slurm_is_refused(tmp_path, clean):
    shutil.copy("/bin/sleep", tmp_path / "slurmd")
    with subprocess.Popen([tmp_path / "slurmd", "600"]) as other:
        try:
            status, _, err = cluster("up", "1")
        finally:
            other.kill()
    assert status == 4
    assert f"slurmd, process {other.pid}" in err
    check_nothing_is_left()
