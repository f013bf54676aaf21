"""Runs the program under test as a user does, and reads what it leaves behind.

The program is the one that the environment variable MECHSWEEP names, by default build/mechsweep. It
is never skipped: without it every test fails.
"""

import csv
import io
import json
import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"
CHECKPOINTS = GOLDEN / "checkpoints"
PATIENCE_S = 60  # nothing that these tests do may take longer

DONE, UNITS_FAILED, USAGE, INPUT, RESOURCE, INTERRUPTED = 0, 1, 2, 3, 4, 5

JOURNAL_DONE = 1  # first byte of a slot, docs/results-file.md
LOG_LEVELS = ("trace", "debug", "info", "warning")


def program() -> str:
    path = Path(os.environ.get("MECHSWEEP", ROOT / "build" / "mechsweep")).resolve()
    assert path.is_file(), f"{path} is missing: build it, or name another one in MECHSWEEP"
    return str(path)


@dataclass(frozen=True)
class Outcome:
    status: int
    out: str
    err: str

    @property
    def complaints(self) -> list[str]:
        """Lines of the program itself on stderr that are no plain log lines."""
        lines = [line for line in self.err.splitlines() if line.startswith("mechsweep:")]
        return [
            line
            for line in lines
            if not line.startswith(tuple(f"mechsweep: {x}:" for x in LOG_LEVELS))
        ]


def _environment(extra: dict | None) -> dict:
    environment = {
        k: v for k, v in os.environ.items() if not k.startswith(("OMPI_", "SLURM_", "PMIX"))
    }
    if os.geteuid() == 0:
        environment |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    for name, value in (extra or {}).items():
        if value is None:
            environment.pop(name, None)
        else:
            environment[name] = value
    return environment


def _command(arguments, ranks: int | None) -> list[str]:
    launcher = [] if ranks is None else ["mpirun", "--oversubscribe", "-n", str(ranks)]
    return [*launcher, program(), *map(str, arguments)]


def run(*arguments, ranks: int | None = None, environment: dict | None = None, cwd=None) -> Outcome:
    """Runs the program to its end; `ranks` puts mpirun in front. Fails after PATIENCE_S."""
    done = subprocess.run(
        _command(arguments, ranks),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=PATIENCE_S,
        env=_environment(environment),
        cwd=cwd,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def mpirun(ranks: int, *arguments, **options) -> Outcome:
    return run(*arguments, ranks=ranks, **options)


def must(*arguments, status: int = DONE, **options) -> Outcome:
    """Like run, for steps that a test relies on."""
    outcome = run(*arguments, **options)
    assert outcome.status == status, f"{arguments}: {outcome.status}\n{outcome.err}\n{outcome.out}"
    return outcome


class Running:
    """The program at work. Ends with the block, whatever happens in it."""

    def __init__(self, *arguments, ranks: int | None = None):
        self.process = subprocess.Popen(
            _command(arguments, ranks),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            env=_environment(None),
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def ranks(self) -> list[int]:
        """Process numbers of what mpirun has started."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        pids = [int(pid) for pid in children.read_text().split()]
        return [pid for pid in pids if "mechsweep" in Path(f"/proc/{pid}/comm").read_text()]

    def signal(self, number: signal.Signals):
        self.process.send_signal(number)

    def wait(self) -> Outcome:
        out, err = self.process.communicate(timeout=PATIENCE_S)
        return Outcome(self.process.returncode, out, err)

    def wait_for_units(self, results: Path, units: int):
        """Until so many units are journalled, or the program has ended."""
        until = time.monotonic() + PATIENCE_S
        while self.process.poll() is None and time.monotonic() < until:
            if results.exists() and (journal(results)[:, 0] == JOURNAL_DONE).sum() >= units:
                return
            time.sleep(0.005)
        assert self.process.poll() is None, f"ended too early: {self.process.communicate()[1]}"
        raise AssertionError(f"no {units} units within {PATIENCE_S} s")


def model_entry(name: str) -> dict:
    return {"id": name, "path": str(CHECKPOINTS / name)}


def prompt_file(name: str) -> dict:
    return {"id": name, "kind": "file", "path": str(GOLDEN / "prompts" / f"{name}.jsonl")}


def write_config(path: Path, models, prompts, experiments, **other) -> Path:
    """Writes a config (JSON is YAML) and returns its path."""
    config = {"name": "test", "seed": 11, "models": models, "prompts": prompts}
    config |= {"experiments": experiments} | other
    path.write_text(json.dumps(config, indent=1))
    return path


def digest(results: Path) -> str:
    """Of a complete file."""
    found = re.search(r"^digest +([0-9a-f]{64})$", must("verify", results).out, re.MULTILINE)
    assert found
    return found[1]


def export_rows(results: Path, *options) -> list[dict]:
    return list(csv.DictReader(io.StringIO(must("export", results, *options).out)))


def journal(results: Path) -> np.ndarray:
    """A copy of /journal, uint8 [unit, 64]. The file may be written to at the same time."""
    with h5py.File(results, "r", locking=False) as file:
        return file["journal"][()]


def attempts_of(slots: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(slots[:, 4:8]).view("<u4")[:, 0]


def status_counts(results: Path) -> tuple[int, dict]:
    outcome = run("status", results, "--json")
    return outcome.status, json.loads(outcome.out)
