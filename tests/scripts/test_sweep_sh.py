"""slurm/sweep.sh with stand-ins for srun, scontrol and mechsweep, which write down their calls."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SWEEP = ROOT / "slurm" / "sweep.sh"

# Runs the program once, forwards signals to it, as srun does. Nodes in $LOST start nothing.
SRUN = """
echo "srun $*" >> "$LOG"
echo "$SLURM_NTASKS $SLURM_TASKS_PER_NODE $SLURM_JOB_NODELIST" >> "$LOG.sizes"
for option; do
  case $option in --nodelist=*) [[ " $LOST " != *" ${option#--nodelist=} "* ]] || exit 1 ;; esac
done
while [ "${1#--}" != "$1" ]; do shift; done
case $* in *--guard*) exit 0 ;; esac
trap 'kill -USR1 $child' USR1
"$@" & child=$!
wait $child; status=$?
while kill -0 $child 2> /dev/null; do wait $child; status=$?; done
exit $status
"""
MPIRUN = SRUN.replace("srun", "mpirun").replace("shift; done", "shift; done; shift")
SCONTROL = """
echo "scontrol $*" >> "$LOG"
case "$*" in
  "show hostnames"*) echo "$3" | tr ',' '\\n' ;;
  *"show job"*)
    [ -z "$NO_SHOW" ] || exit 1
    echo "JobId=7 JobState=${JOB_STATE:-RUNNING} Reason=None TimeLimit=01:00:00" \\
    "EndTime=${END_TIME:-Unknown} NodeList=${NODES_NOW:-n1,n2,n3} Command=/x" \\
    "ReqNodeList=${WANTED:-(null)} ExcNodeList=${EXCLUDED:-(null)} Features=${FEATURES:-(null)}" ;;
  requeue*) [ -z "$NO_REQUEUE" ] ;;
esac
"""
SBATCH = """
echo "sbatch $*" >> "$LOG"
env | grep ^SLURM_ >> "$LOG.environment"
if [ -n "$NO_SBATCH" ]; then exit 1; fi
case $* in *--parsable*) echo 8 ;; esac
"""
# Behaves as the words of $RUN and $AFTER say, one for each `run`, of which the last holds on: the
# status that run ends with and the one that `status` gives from then on; with $COMMIT, a run
# records something. `wait` as a status means until it is told to stop.
PROGRAM = """
echo "mechsweep $*" >> "$LOG"
nth() { shift "$(($1 < $# ? $1 : $# - 1))"; echo "$1"; }
case $1 in
  status)
    printf '{\\n  "done": %s,\\n  "left": 3\\n}\\n' "$(cat "$STATE.done")"
    exit "$(cat "$STATE")" ;;
  reduce) exit "${REDUCE_STATUS:-0}" ;;
  merge) touch "$2"; exit "${MERGE_STATUS:-0}" ;;
  run)
    launch=$(grep -c "^mechsweep run .*--out" "$LOG")
    run=$(nth "$launch" $RUN)
    echo "the ranks speak"
    if [ -n "$SRUN_SAYS" ]; then echo "$SRUN_SAYS"; fi
    touch "$4"
    if [ "$run" = wait ]; then
      trap 'exit 5' USR1
      while [ ! -e "${4%.h5}.stop" ]; do sleep 0.05; done
      run=5
    fi
    [ -z "$COMMIT" ] || echo "$launch" > "$STATE.done"
    nth "$launch" $AFTER > "$STATE"
    exit "$run" ;;
esac
"""


class Job:
    def __init__(self, folder):
        self.folder = folder
        self.log = folder / "log"
        self.log.write_text("")
        (folder / "state").write_text("5\n")
        (folder / "state.done").write_text("0\n")
        (folder / "sweep.yaml").write_text("name: sweep\n")
        (folder / "bin").mkdir()
        commands = {"srun": SRUN, "mpirun": MPIRUN, "scontrol": SCONTROL, "sbatch": SBATCH}
        commands["scancel"] = 'echo "scancel $*" >> "$LOG"\n'
        for name, text in commands.items():
            self.command(folder / "bin" / name, text)
        # The script waits half a minute for Slurm to end it; the program's naps stay real.
        nap = 'case $1 in 30 | 5) ;; *) exec /bin/sleep "$1" ;; esac\n'
        self.command(folder / "bin" / "sleep", nap)
        # A checkout of its own, so that a site file can be put into it.
        (folder / "co" / "slurm").mkdir(parents=True)
        (folder / "co" / "build").mkdir()
        self.script = folder / "co" / "slurm" / "sweep.sh"
        self.script.write_text(SWEEP.read_text())
        self.script.chmod(0o755)
        (folder / "co" / "slurm" / "job.sh").write_text((ROOT / "slurm" / "job.sh").read_text())
        self.site = folder / "co" / "slurm" / "site.conf"
        self.command(folder / "co" / "build" / "mechsweep", PROGRAM)

    @staticmethod
    def command(path, text):
        path.write_text("#!/bin/bash\n" + text)
        path.chmod(0o755)

    def start(self, *arguments, **environment):
        kept = {
            k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "MECHSWEEP", "SITE_"))
        }
        own = {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "LOG": str(self.log),
            "STATE": str(self.folder / "state"),
            "SLURM_JOB_ID": "7",
            "SLURM_CPUS_PER_TASK": "3",
            "RUN": "0",
            "AFTER": "0",
            "SITE_REDUCE": "inline",
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
    assert launches(job)[0].endswith("run sweep.yaml --out results/sweep/sweep.h5")


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
    more = {"NO_REQUEUE": "1", "NO_SBATCH": "1"}
    status, _, err = job.run("sweep.yaml", RUN="5", AFTER="5", **more)
    assert status == 5
    assert "Submit again" in err


@pytest.mark.parametrize("final", [2, 3, 4, 70])
def test_what_would_fail_again_is_not_tried_again(job, final):
    assert job.run("sweep.yaml", RUN=str(final), AFTER="5")[0] == final
    assert job.calls("scontrol requeue") == []
    assert job.calls("mechsweep reduce") == []


@pytest.mark.parametrize(
    "first, status, launched, requeued",
    [
        ("srun: error: n2: task 1: Exited with exit code 2", 2, 1, 0),
        ("srun: error: n2: tasks 1,3: Exited with exit code 5", 5, 1, 1),
        ("srun: error: n2: task 1: Segmentation fault", 5, 3, 0),
        ("srun: error: Node failure on n2", 5, 3, 0),
    ],
)
def test_the_rank_that_ended_first_counts(job, first, status, launched, requeued):
    """srun then ends the other ranks, and exits with the largest status."""
    says = first + "\nsrun: error: n1: task 0: Terminated"
    assert job.run("sweep.yaml", RUN="143", AFTER="5", SRUN_SAYS=says)[0] == status
    assert len(launches(job)) == launched
    assert len(job.calls("scontrol requeue")) == requeued


def test_a_watchdog_is_no_reason_to_wait_in_the_queue(job):
    says = "mechsweep: critical: rank 2 hung for 60 s in a barrier (x.cpp:1) and is ended"
    assert job.run("sweep.yaml", RUN="5 0", AFTER="5 0", SRUN_SAYS=says)[0] == 0
    assert len(launches(job)) == 2


@pytest.mark.parametrize("final", [4, 70])
def test_what_a_lost_node_caused_is_not_final(job, final):
    more = {"RUN": f"{final} 0", "AFTER": "5 0", "LOST": "n2"}
    assert job.run("sweep.yaml", **THREE, **more)[0] == 0
    assert len(launches(job)) == 2


def test_what_no_lost_node_caused_is_final(job):
    assert job.run("sweep.yaml", RUN="4 0", AFTER="5 0", **THREE)[0] == 4
    assert len(launches(job)) == 1


def test_failed_units_are_reduced_and_reported(job):
    assert job.run("sweep.yaml", RUN="1", AFTER="1")[0] == 1
    assert len(job.calls("mechsweep reduce")) == 1


def test_a_complete_file_is_only_reduced(job):
    (job.folder / "state").write_text("0\n")
    (job.folder / "x.h5").write_text("")
    assert job.run("sweep.yaml", "--out", "x.h5")[0] == 0
    assert launches(job) == []
    assert len(job.calls("mechsweep reduce")) == 1


def test_a_damaged_file_ends_the_job(job):
    assert job.run("sweep.yaml", RUN="137", AFTER="3")[0] == 3
    assert job.calls("scontrol requeue") == []


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_a_signal_stops_the_ranks_and_requeues(job, number):
    process = job.start("sweep.yaml", "--out", "x.h5", RUN="wait", AFTER="5")
    wait_for(lambda: job.calls("mechsweep run sweep.yaml"))
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
    wait_for(lambda: job.calls("mechsweep run sweep.yaml"))
    (job.folder / "x.stop").write_text("")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 5
    assert "x.stop" in err
    assert job.calls("scontrol requeue") == []


def test_a_cancelled_job_does_not_come_back(job):
    process = job.start("sweep.yaml", RUN="wait", AFTER="5", JOB_STATE="CANCELLED")
    wait_for(lambda: job.calls("mechsweep run sweep.yaml"))
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


THREE = {
    "SLURM_JOB_NODELIST": "n1,n2,n3",
    "SLURM_TASKS_PER_NODE": "2(x2),1",
    "SLURM_NTASKS": "5",
}


def launches(job):
    return [x for x in job.calls("srun") if " run " in x and "--guard" not in x]


def test_each_launch_has_a_log(job):
    status, out, _ = job.run("sweep.yaml", "--out", "x.h5", RUN="137 0", AFTER="5 0")
    assert status == 0
    logs = sorted(path.name for path in job.folder.glob("*.log"))
    assert logs == ["x.7-0-1.log", "x.7-0-2.log", "x.7-0-reduce-1.log"]
    assert "x.7-0-2.log" in out
    assert (job.folder / "x.7-0-1.log").read_text() == "the ranks speak\n"
    assert not (job.folder / "x.launches").exists()


@pytest.mark.parametrize("gone", [{"LOST": "n2"}, {"NODES_NOW": "n1,n3"}])
def test_launched_again_on_the_nodes_that_are_left(job, gone):
    """Whether Slurm knows already that a node is gone, or starting something on it fails."""
    assert job.run("sweep.yaml", RUN="137 0", AFTER="5 0", **THREE, **gone)[0] == 0
    first, second = launches(job)
    assert "--nodelist" not in first
    for option in ("--nodes=2", "--nodelist=n1,n3", "--ntasks=3"):
        assert option in second.split()
    sizes = (job.folder / "log.sizes").read_text().splitlines()
    assert "3 2,1 n1,n3" in sizes
    assert job.calls("scontrol requeue") == []


def test_mpirun_sees_the_nodes_that_are_left(job):
    more = {**THREE, "LOST": "n2", "SITE_LAUNCHER": "mpirun"}
    assert job.run("sweep.yaml", RUN="205 0", AFTER="5 0", **more)[0] == 0
    assert job.calls("mpirun")[0].startswith("mpirun --bind-to none")
    assert "3 2,1 n1,n3" in (job.folder / "log.sizes").read_text().splitlines()
    assert launches(job) == []


def test_without_nodes_left_it_is_requeued(job):
    assert job.run("sweep.yaml", RUN="137", AFTER="5", LOST="n1 n2 n3", **THREE)[0] == 5
    assert len(launches(job)) == 1
    assert job.calls("scontrol requeue") == ["scontrol requeue 7"]


def test_three_launches_that_record_nothing_end_it(job):
    status, _, err = job.run("sweep.yaml", RUN="137", AFTER="5")
    assert status == 5
    assert len(launches(job)) == 3
    assert "3 launches in a row recorded nothing" in err
    assert job.calls("scontrol requeue") == []


@pytest.mark.parametrize(
    "earlier, launched",
    [
        ("7 0 restart 0 launch 1\n7 0 restart 1 launch 1\n", 1),
        ("7 0 restart 0 launch 1\n7 preempted\n7 0 restart 1 launch 1\n", 2),
        ("6 0 restart 0 launch 1\n6 0 restart 1 launch 1\n", 3),  # of another job
    ],
)
def test_launches_before_a_requeue_count(job, earlier, launched):
    (job.folder / "x.launches").write_text(earlier)
    more = {"RUN": "137", "AFTER": "5", "SLURM_RESTART_COUNT": "2"}
    status, _, err = job.run("sweep.yaml", "--out", "x.h5", **more)
    assert status == 5
    assert "recorded nothing" in err
    assert len(launches(job)) == launched


def test_launches_are_bounded_even_when_they_record_something(job):
    more = {"RUN": "137", "AFTER": "5", "COMMIT": "1", "SITE_MAX_LAUNCHES": "6"}
    assert job.run("sweep.yaml", **more)[0] == 5
    assert len(launches(job)) == 6
    assert job.calls("scontrol requeue") == ["scontrol requeue 7"]


def test_a_preempted_launch_is_noted(job):
    process = job.start("sweep.yaml", "--out", "x.h5", RUN="wait", AFTER="5")
    wait_for(lambda: job.calls("mechsweep run sweep.yaml"))
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert (job.folder / "x.launches").read_text().endswith("7 preempted\n")


def test_the_end_of_the_job_is_passed_on(job):
    end = int(time.time()) + 7200
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(end))
    assert job.run("sweep.yaml", END_TIME=text)[0] == 0
    assert launches(job)[0].endswith(f"--end-by {end - 180}")


def test_a_job_without_an_end_has_none_to_pass_on(job):
    assert job.run("sweep.yaml")[0] == 0
    assert "--end-by" not in launches(job)[0]


def test_reduced_by_a_job_of_its_own(job):
    more = {"SITE_REDUCE": "job", "SITE_REDUCE_OPTIONS": "--mem=9G", "SLURM_JOB_ACCOUNT": "abc"}
    assert job.run("sweep.yaml", **more, **THREE)[0] == 0
    (call,) = job.calls("sbatch")
    for option in (
        "--dependency=afterany:7",
        "--nodes=1",
        "--ntasks=2",
        "--cpus-per-task=3",
        "--time=01:00:00",
        "--account=abc",
        "--mem=9G",
    ):
        assert option in call.split()
    assert call.endswith("sweep.sh sweep.yaml --out results/sweep/sweep.h5 --reduce")
    assert (job.folder / "log.environment").read_text() == ""
    assert job.calls("mechsweep reduce") == []


def test_reduced_in_the_same_job_where_no_other_can_be_submitted(job):
    assert job.run("sweep.yaml", SITE_REDUCE="job", NO_SBATCH="1")[0] == 0
    assert len(job.calls("mechsweep reduce")) == 1


def test_only_reduced(job):
    assert job.run("sweep.yaml", "--reduce")[0] == 0
    assert launches(job) == []
    assert len(job.calls("mechsweep reduce")) == 1


def test_where_requeue_is_refused_a_successor_is_submitted(job):
    sizes = {"SLURM_JOB_NUM_NODES": "3", "SLURM_NTASKS": "5", "SLURM_JOB_NAME": "mechsweep"}
    more = {"RUN": "5", "AFTER": "5", "NO_REQUEUE": "1", "MECHSWEEP_CHAINED": "4"}
    status, out, _ = job.run("sweep.yaml", "--out", "x.h5", **sizes, **more)
    assert status == 5
    (call,) = job.calls("sbatch")
    for option in (
        "--dependency=singleton,afterany:7",
        "--job-name=mechsweep-x",
        "--nodes=3",
        "--ntasks=5",
    ):
        assert option in call.split()
    assert call.endswith("sweep.sh sweep.yaml --out x.h5")
    assert "number 5" in out


def test_a_successor_runs_where_its_job_was_to_run(job):
    places = {"WANTED": "n[1-3]", "EXCLUDED": "n[8-9]", "FEATURES": "big&fast"}
    assert job.run("sweep.yaml", RUN="5", AFTER="5", NO_REQUEUE="1", **places)[0] == 5
    (call,) = job.calls("sbatch")
    for option in ("--nodelist=n[1-3]", "--exclude=n[8-9]", "--constraint=big&fast"):
        assert option in call.split()


def test_the_job_that_reduces_needs_one_of_the_nodes_only(job):
    places = {"WANTED": "n[1-3]", "EXCLUDED": "n[8-9]"}
    assert job.run("sweep.yaml", SITE_REDUCE="job", **places)[0] == 0
    (call,) = job.calls("sbatch")
    assert "--exclude=n[8-9]" in call.split()
    assert "--nodelist" not in call


def test_chains_are_bounded(job):
    more = {"RUN": "5", "AFTER": "5", "SITE_REQUEUE": "no", "MECHSWEEP_CHAINED": "20"}
    status, _, err = job.run("sweep.yaml", **more)
    assert status == 5
    assert "limit" in err
    assert job.calls("sbatch") == []


def test_a_guard_watches_the_first_node(job):
    assert job.run("sweep.yaml", **THREE)[0] == 0
    (guard,) = [x for x in job.calls("srun") if "--guard" in x]
    assert "--nodelist=n3" in guard.split()
    assert guard.endswith("sweep.yaml --guard n1")


def test_a_guard_requeues_when_the_first_node_is_gone(job):
    more = {"NODES_NOW": "n2,n3", "SLURM_RESTART_COUNT": "1"}
    job.run("sweep.yaml", "--out", "x.h5", "--guard", "n1", **THREE, **more)
    assert job.calls("scontrol requeue") == ["scontrol requeue 7"]
    assert job.calls("srun") == job.calls("scancel") == []
    assert "n1 is gone" in (job.folder / "x.7-1-guard.log").read_text()


@pytest.mark.parametrize("why", ["stop file", "limit", "no requeue"])
def test_a_guard_ends_a_job_that_is_not_to_be_requeued(job, why):
    """Nobody is left to use its nodes."""
    more = {
        "stop file": {},
        "limit": {"SLURM_RESTART_COUNT": "20"},
        "no requeue": {"NO_REQUEUE": "1"},
    }[why]
    if why == "stop file":
        (job.folder / "x.stop").write_text("")
    job.run("sweep.yaml", "--out", "x.h5", "--guard", "n1", NODES_NOW="n2,n3", **THREE, **more)
    assert job.calls("scancel") == ["scancel 7"]
    assert len(job.calls("scontrol requeue")) == (why == "no requeue")
    assert len(job.calls("sbatch")) == (why == "no requeue")


@pytest.mark.parametrize(
    "now",
    [
        {},
        {"JOB_STATE": "COMPLETING", "NODES_NOW": "n2"},
        {"JOB_STATE": "PENDING", "NODES_NOW": "(null)"},
        {"NODES_NOW": "(null)"},
        {"NO_SHOW": "1"},
    ],
)
def test_a_guard_leaves_a_job_alone_that_ends_or_keeps_its_first_node(job, now):
    process = job.start("sweep.yaml", "--out", "x.h5", "--guard", "n1", **THREE, **now)
    asked = len(job.calls("scontrol -o show job"))
    wait_for(lambda: len(job.calls("scontrol -o show job")) > asked + 8)
    process.kill()
    process.communicate()
    assert job.calls("scontrol requeue") == job.calls("scancel") == []


def test_the_environment_wins_over_the_site_file(job):
    job.site.write_text("SITE_MPI=pmi2\nSITE_SRUN_OPTIONS='--mem=0 --quiet'\n")
    job.site.chmod(0o644)
    assert job.run("sweep.yaml", SITE_MPI="it's $HOME")[0] == 0
    assert "--mpi=it's $HOME" in launches(job)[0]
    assert "--mem=0 --quiet" in launches(job)[0]


@pytest.mark.parametrize(
    "name, value",
    [("SITE_LAUNCHER", "prun"), ("SITE_MAX_LAUNCHES", "x"), ("SITE_REDUCE", "later")],
)
def test_site_values_are_checked(job, name, value):
    status, _, err = job.run("sweep.yaml", **{name: value})
    assert status == 2
    assert name in err and value in err
    assert job.calls("srun") == []


def test_options_after_two_dashes_go_to_sbatch(job):
    more = {"SLURM_JOB_ID": "", "SITE_SBATCH_OPTIONS": "--time=5"}
    assert job.run("sweep.yaml", "--out", "x.h5", "--", "--nodes=2", **more)[0] == 0
    wanted = f"sbatch --time=5 --nodes=2 {job.script} sweep.yaml --out x.h5"
    assert job.calls("sbatch") == [wanted]


def test_a_part_of_a_sweep(job):
    """Its file lacks the other parts' units, so that only the run's status says when it is done."""
    more = {"SLURM_ARRAY_TASK_ID": "2", "RUN": "137 1", "AFTER": "5"}
    assert job.run("sweep.yaml", "--out", "x.h5", "--part-of", "3", **more)[0] == 0
    assert len(launches(job)) == 2
    assert launches(job)[1].endswith("run sweep.yaml --out x.part-2-of-3.h5 --part 2/3")
    assert job.calls("mechsweep reduce") == []


@pytest.mark.parametrize("merged", [0, 1, 5])
@pytest.mark.parametrize("there", [False, True])
def test_parts_are_merged_before_the_rest_is_run(job, merged, there):
    """Also once more, after a merge that was cut short."""
    if there:
        (job.folder / "x.h5").write_text("")
    arguments = ("sweep.yaml", "--out", "x.h5", "--merge", "2")
    assert job.run(*arguments, MERGE_STATUS=str(merged))[0] == 0
    calls = job.calls("mechsweep")
    merge = calls.index("mechsweep merge x.h5 x.part-1-of-2.h5 x.part-2-of-2.h5")
    assert merge < calls.index("mechsweep run sweep.yaml --out x.h5")


@pytest.mark.parametrize("why", ["complete", "launched"])
def test_merged_parts_are_not_merged_again(job, why):
    (job.folder / "x.h5").write_text("")
    if why == "complete":
        (job.folder / "state").write_text("0\n")
    else:
        (job.folder / "x.launches").write_text("7 0 restart 0 launch 1\n")
    assert job.run("sweep.yaml", "--out", "x.h5", "--merge", "2")[0] == 0
    assert job.calls("mechsweep merge") == []


def test_parts_that_do_not_merge_end_it(job):
    assert job.run("sweep.yaml", "--merge", "2", MERGE_STATUS="3")[0] == 3
    assert job.calls("srun") == []


def test_one_config_of_a_list(job):
    (job.folder / "list").write_text("none.yaml\nsweep.yaml\n")
    assert job.run("--list", "list", SLURM_ARRAY_TASK_ID="2")[0] == 0
    assert job.calls("mechsweep run")[-1].endswith("sweep.yaml --out results/sweep/sweep.h5")


def test_configs_of_a_list_are_beside_it(job):
    (job.folder / "grid").mkdir()
    (job.folder / "grid" / "one.yaml").write_text("name: one\n")
    (job.folder / "grid" / "list").write_text("one.yaml\n")
    assert job.run("--list", "grid/list", SLURM_ARRAY_TASK_ID="1")[0] == 0
    assert job.calls("mechsweep run")[-1].endswith("grid/one.yaml --out results/one/one.h5")


@pytest.mark.parametrize("task", ["3", ""])
def test_a_list_without_such_a_line(job, task):
    (job.folder / "list").write_text("sweep.yaml\n")
    assert job.run("--list", "list", SLURM_ARRAY_TASK_ID=task)[0] == 2


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.02)
