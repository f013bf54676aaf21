"""A Slurm cluster on this machine, and what tests ask of it."""

import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from system_program import (
    CHECKPOINTS,
    JOURNAL_DONE,
    ROOT,
    journal,
    program,
    status_counts,
    write_config,
)

SCRIPT = ROOT / "scripts" / "slurm_cluster.sh"
SWEEP = ROOT / "slurm" / "sweep.sh"
LOG_RECORD = b"mechsweep-unit1\n"  # docs/results-file.md, "Log mode"
PATIENCE_S = 180  # nothing that these tests wait for may take longer
GONE = ("BOOT_FAIL", "CANCELLED", "COMPLETED", "FAILED", "NODE_FAIL", "TIMEOUT")


def why_not() -> str:
    """Why there can be no cluster here; empty when there can."""
    if os.geteuid() != 0:
        return "a Slurm cluster on one machine needs root"
    tools = ("munged", "slurmctld", "slurmd", "sbatch")
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        return f"{', '.join(missing)} missing; run scripts/install_deps.sh --tests"
    return ""


def wait_for(condition, what: str, interval_s: float = 0.1):
    """Polls; returns the first true value of condition()."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        if value := condition():
            return value
        time.sleep(interval_s)
    raise AssertionError(f"not within {PATIENCE_S} s: {what}")


class Cluster:
    def __init__(self):
        self.environment = {
            k: v
            for k, v in os.environ.items()
            if not k.startswith(("OMPI_", "SLURM", "SBATCH_", "PMIX", "SITE_", "MECHSWEEP"))
        }
        self.environment["SITE_PROGRAM"] = program()

    def up(self, nodes: int):
        for line in self.control("up", str(nodes)).splitlines():
            for pair in line.removeprefix("export ").split():
                name, value = pair.split("=", 1)
                self.environment[name] = value

    def control(self, *arguments) -> str:
        """scripts/slurm_cluster.sh"""
        return self.must(str(SCRIPT), *arguments)

    def run(self, *command, cwd=None, **environment) -> subprocess.CompletedProcess:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=PATIENCE_S,
            env=self.environment | environment,
            cwd=cwd,
            check=False,
        )

    def must(self, *command, **options) -> str:
        done = self.run(*command, **options)
        assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stderr}\n{done.stdout}"
        return done.stdout

    def submit(self, folder: Path, *arguments, **environment) -> "Job":
        """sbatch in `folder`; what the job says goes to folder/JOB.out."""
        options = ("--parsable", "--output=%j.out", "--ntasks-per-node=1")
        out = self.must("sbatch", *options, *map(str, arguments), cwd=folder, **environment)
        return Job(self, out.strip().split(";")[0], folder)

    def sweep(self, sweep: "Sweep", *options, **environment) -> "Job":
        """slurm/sweep.sh of this sweep; not reduced unless the environment says so."""
        environment = {"SITE_REDUCE": "no"} | environment
        return self.submit(
            sweep.folder, *options, SWEEP, sweep.config, "--out", sweep.results, **environment
        )


class Job:
    def __init__(self, cluster: Cluster, number: str, folder: Path):
        self.cluster, self.number, self.folder = cluster, number, folder

    def field(self, name: str) -> str:
        out = self.cluster.must("scontrol", "-o", "show", "job", self.number)
        return next((x[len(name) + 1 :] for x in out.split() if x.startswith(name + "=")), "")

    def said(self) -> str:
        path = self.folder / f"{self.number}.out"
        return path.read_text() if path.exists() else ""

    def wait(self, *states) -> str:
        """Until it is over, or in one of these states; returns the state."""
        wanted = states or GONE

        def reached():
            state = self.field("JobState")
            return state if state in wanted else ""

        try:
            return wait_for(reached, f"job {self.number} in {wanted}")
        except AssertionError as error:
            queue = self.cluster.must("scontrol", "show", "job", self.number)
            raise AssertionError(f"{error}\n{queue}\n{self.said()}") from None

    def must_complete(self):
        assert self.wait() == "COMPLETED", self.said()

    def ranks(self) -> list[int]:
        """Process numbers of its mechsweep run, on all nodes."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                variables = (path / "environ").read_bytes().split(b"\0")
                command = (path / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if (
                f"SLURM_JOB_ID={self.number}".encode() in variables
                and Path(command[0].decode()).name == "mechsweep"
                and command[1:2] == [b"run"]
                and b"--out" in command
            ):
                found.append(int(path.name))
        return found

    def freeze(self) -> bool:
        """Stops its ranks where they are; false when there are none."""
        return self._signal(signal.SIGSTOP)

    def thaw(self):
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> bool:
        pids = self.ranks()
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        return bool(pids)


class Sweep:
    """A sweep of many small units in a folder of its own."""

    UNITS = 59

    def __init__(self, folder: Path, units: int = UNITS):
        folder.mkdir(parents=True)
        self.folder, self.results = folder, folder / "r.h5"
        self.config = write_config(
            folder / "sweep.yaml",
            [{"id": "m", "path": str(CHECKPOINTS / "llama-random")}],
            [
                {
                    "id": "p",
                    "kind": "repeated_random",
                    "count": 40,
                    "period": 20,
                    "repeats": 3,
                    "prefix": 0,
                }
            ],
            [
                {"id": f"h{k}", "kind": "head_ablation", "operation": "zero", "positions": [k]}
                for k in range(units)
            ],
            execution={"threads_per_rank": 1},
        )

    def done(self) -> int:
        """Also of units that are in the log only, as on several nodes."""
        return status_counts(self.results)[1]["done"] if self.results.exists() else 0

    def written(self) -> int:
        """Like done(), but without the program, which takes longer than many units; at most a
        little too large."""
        try:
            segments = self.results.with_suffix(".log").glob("*.seg")
            logged = sum(path.read_bytes().count(LOG_RECORD) for path in segments)
            return logged + int((journal(self.results)[:, 0] == JOURNAL_DONE).sum())
        except OSError:  # not there yet, or a segment not any more
            return 0

    def interrupt(self, job: Job):
        """Freezes the job in the middle."""

        def in_the_middle():
            if self.written() < 4 or not job.freeze():
                return False
            if self.done() < 3:
                job.thaw()
                return False
            return True

        try:
            wait_for(in_the_middle, f"3 units of job {job.number}", interval_s=0.01)
            assert self.done() < self.UNITS, "the sweep was over before it could be disturbed"
        except AssertionError as error:
            job.cluster.run("scancel", job.number)
            raise AssertionError(f"{error}: {job.said()}") from None
