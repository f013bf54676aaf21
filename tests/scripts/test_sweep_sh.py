"""slurm/sweep.sh with stand-ins for srun, scontrol and mechsweep, which write down their calls."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SWEEP = ROOT / "slurm" / "sweep.sh"

# Runs the program once, forwards signals to it, as srun does.
SRUN = """
echo "srun $*" >> "$LOG"
while [ "${1#--}" != "$1" ]; do shift; done
trap 'kill -USR1 $child' USR1
"$@" & child=$!
wait $child; status=$?
while kill -0 $child 2> /dev/null; do wait $child; status=$?; done
exit $status
"""
SCONTROL = """
echo "scontrol $*" >> "$LOG"
if [ "$1" = show ]; then echo "   JobState=${JOB_STATE:-RUNNING} Reason=None"; fi
if [ "$1" = requeue ] && [ -n "$NO_REQUEUE" ]; then exit 1; fi
"""
# Behaves as the lines of $PLAN say, one per `run`: the status that run ends with and the one that
# `status` gives from then on; `wait` as a status means until it is told to stop.
PROGRAM = """
echo "mechsweep $*" >> "$LOG"
case $1 in
  status) exit "$(cat "$STATE")" ;;
  reduce) exit "${REDUCE_STATUS:-0}" ;;
  run)
    touch "$4"
    if [ "$RUN" = wait ]; then
      trap 'exit 5' USR1
      while [ ! -e "${4%.h5}.stop" ]; do sleep 0.05; done
      RUN=5
    fi
    echo "$AFTER" > "$STATE"
    exit "$RUN" ;;
esac
"""


class Job:
    def __init__(self, folder):
        self.folder = folder
        self.log = folder / "log"
        self.log.write_text("")
        (folder / "state").write_text("5\n")
        (folder / "sweep.yaml").write_text("name: sweep\n")
        (folder / "bin").mkdir()
        for name, text in {"srun": SRUN, "scontrol": SCONTROL}.items():
            self.command(folder / "bin" / name, text)
        # The script waits half a minute for Slurm to end it; the program's naps stay real.
        self.command(folder / "bin" / "sleep", '[ "$1" = 30 ] || exec /bin/sleep "$1"\n')
        # A checkout of its own, so that a site file can be put into it.
        (folder / "co" / "slurm").mkdir(parents=True)
        (folder / "co" / "build").mkdir()
        self.script = folder / "co" / "slurm" / "sweep.sh"
        self.script.write_text(SWEEP.read_text())
        self.script.chmod(0o755)
        (folder / "co" / "slurm" / "site.conf.example").write_text("")
        self.site = folder / "co" / "slurm" / "site.conf"
        self.command(folder / "co" / "build" / "mechsweep", PROGRAM)

    @staticmethod
    def command(path, text):
        path.write_text("#!/bin/bash\n" + text)
        path.chmod(0o755)

    def start(self, *arguments, **environment):
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "MECHSWEEP"))}
        own = {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "LOG": str(self.log),
            "STATE": str(self.folder / "state"),
            "SLURM_JOB_ID": "7",
            "SLURM_CPUS_PER_TASK": "3",
            "RUN": "0",
            "AFTER": "0",
        }
        return subprocess.Popen(
            [str(self.script), *arguments],
            cwd=self.folder,
            env={**kept, **own, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments, **environment):
        process = self.start(*arguments, **environment)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def calls(self, start):
        return [line for line in self.log.read_text().splitlines() if line.startswith(start)]


@pytest.fixture
def job(tmp_path):
    return Job(tmp_path)


def test_a_sweep_that_completes_is_reduced(job):
    status, _, _ = job.run("sweep.yaml", "--out", "out/x.h5")
    assert status == 0
    srun = job.calls("srun")
    assert len(srun) == 2
    for option in ("--mpi=pmix", "--kill-on-bad-exit=1", "--cpus-per-task=3"):
        assert option in srun[0].split()
    assert srun[0].endswith("run sweep.yaml --out out/x.h5")
    assert srun[1].endswith("reduce out/x.h5")
    assert job.calls("scontrol requeue") == []


def test_without_out_the_file_is_named_after_the_config(job):
    assert job.run("sweep.yaml")[0] == 0
    assert job.calls("mechsweep run") == ["mechsweep run sweep.yaml --out results/sweep/sweep.h5"]


def test_a_config_with_an_output_file_needs_out(job):
    (job.folder / "sweep.yaml").write_text("output: {file: a.h5}\n")
    status, _, err = job.run("sweep.yaml")
    assert status == 2
    assert "--out" in err
    assert job.calls("srun") == []


def test_units_left_requeue_the_job(job):
    assert job.run("sweep.yaml", RUN="5", AFTER="5")[0] == 5
    assert job.calls("scontrol requeue") == ["scontrol requeue 7"]
    assert job.calls("mechsweep reduce") == []


def test_a_killed_srun_does_not_hide_a_complete_file(job):
    assert job.run("sweep.yaml", RUN="137", AFTER="0")[0] == 0
    assert len(job.calls("mechsweep reduce")) == 1


def test_requeues_are_bounded(job):
    status, _, err = job.run("sweep.yaml", RUN="5", AFTER="5", SLURM_RESTART_COUNT="20")
    assert status == 5
    assert "limit" in err
    assert job.calls("scontrol requeue") == []


def test_a_cluster_that_refuses_to_requeue_is_named(job):
    status, _, err = job.run("sweep.yaml", RUN="5", AFTER="5", NO_REQUEUE="1")
    assert status == 5
    assert "Submit again" in err


@pytest.mark.parametrize("final", [2, 3, 4, 70])
def test_what_would_fail_again_is_not_tried_again(job, final):
    assert job.run("sweep.yaml", RUN=str(final), AFTER="5")[0] == final
    assert job.calls("scontrol requeue") == []
    assert job.calls("mechsweep reduce") == []


def test_failed_units_are_reduced_and_reported(job):
    assert job.run("sweep.yaml", RUN="1", AFTER="1")[0] == 1
    assert len(job.calls("mechsweep reduce")) == 1


def test_a_complete_file_is_only_reduced(job):
    (job.folder / "state").write_text("0\n")
    (job.folder / "x.h5").write_text("")
    assert job.run("sweep.yaml", "--out", "x.h5")[0] == 0
    assert job.calls("mechsweep run") == []
    assert len(job.calls("mechsweep reduce")) == 1


def test_a_damaged_file_ends_the_job(job):
    assert job.run("sweep.yaml", RUN="137", AFTER="3")[0] == 3
    assert job.calls("scontrol requeue") == []


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_a_signal_stops_the_ranks_and_requeues(job, number):
    process = job.start("sweep.yaml", "--out", "x.h5", RUN="wait", AFTER="5")
    wait_for(lambda: job.calls("mechsweep run"))
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == 5
    assert (job.folder / "x.stop").exists()
    assert job.calls("scontrol requeue") == ["scontrol requeue 7"]


def test_the_next_start_forgets_the_stop(job):
    (job.folder / "x.stop").write_text("")
    assert job.run("sweep.yaml", "--out", "x.h5")[0] == 0
    assert not (job.folder / "x.stop").exists()


def test_a_stop_by_hand_is_not_requeued(job):
    process = job.start("sweep.yaml", "--out", "x.h5", RUN="wait", AFTER="5")
    wait_for(lambda: job.calls("mechsweep run"))
    (job.folder / "x.stop").write_text("")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 5
    assert "x.stop" in err
    assert job.calls("scontrol requeue") == []


def test_a_cancelled_job_does_not_come_back(job):
    process = job.start("sweep.yaml", RUN="wait", AFTER="5", JOB_STATE="CANCELLED")
    wait_for(lambda: job.calls("mechsweep run"))
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 5
    assert job.calls("scontrol requeue") == []


def test_the_site_file_is_used(job):
    job.site.write_text("SITE_MPI=pmi2\n")
    job.site.chmod(0o644)
    assert job.run("sweep.yaml")[0] == 0
    assert "--mpi=pmi2" in job.calls("srun")[0].split()


@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_a_site_file_that_others_can_write_is_refused(job, mode):
    job.site.write_text("SITE_MPI=pmi2\n")
    job.site.chmod(mode)
    status, _, err = job.run("sweep.yaml")
    assert status == 2
    assert "site.conf" in err
    assert job.calls("srun") == []


def test_run_directly_it_submits_itself(job):
    job.command(job.folder / "bin" / "sbatch", 'echo "sbatch $*" >> "$LOG"\n')
    job.site.write_text("SITE_ACCOUNT=abc SITE_PARTITION=long\n")
    job.site.chmod(0o600)
    assert job.run("sweep.yaml", SLURM_JOB_ID="")[0] == 0
    assert job.calls("sbatch") == [f"sbatch --account=abc --partition=long {job.script} sweep.yaml"]


@pytest.mark.parametrize(
    "arguments", [[], ["none.yaml"], ["sweep.yaml", "--nope"], ["sweep.yaml", "--out", "x.txt"]]
)
def test_bad_usage(job, arguments):
    assert job.run(*arguments)[0] == 2


def test_help(job):
    status, out, _ = job.run("--help", SLURM_JOB_ID="")
    assert status == 0
    assert out.startswith("Usage: sbatch")


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.02)
