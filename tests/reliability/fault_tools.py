"""What the fault campaigns share: small sweeps, the preloaded library, its traces.

Needs h5py and what tests/system/system_program.py needs.
"""

import argparse
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import h5py

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "system"))
import system_program as program

KINDS = ("open", "write", "sync", "rename", "truncate", "unlink", "close")
ERRORS = ("EIO", "ENOSPC", "EDQUOT", "EINTR", "short")
HARMLESS = ("EINTR", "short")
SIGKILLED = 137  # as mpirun and shells say it; alone, Python says -9
EXISTED = 1 << 62  # bit of a recorded open: the file was there before
PATIENCE_S = 120

_RECORD = struct.Struct("<IIIiqQqqqqIIq")
_MAGIC = 0x4B414C46


@dataclass(frozen=True)
class Event:
    """One recorded call; see struct Record of fault_watch.h."""

    kind: str
    is_begin: bool  # of a sync
    rank: int
    pid: int
    inode: int
    offset: int
    result: int
    error: int
    elapsed_ns: int
    path: str
    other: str
    data: bytes


def read_trace(path: Path) -> list[Event]:
    content, at, events = path.read_bytes(), 0, []
    while at < len(content):
        head = _RECORD.unpack_from(content, at)
        magic, kind, phase, rank, pid, inode, offset, result, error, elapsed, first, other, data = (
            head
        )
        assert magic == _MAGIC, f"{path}: not a trace at byte {at}"
        at += _RECORD.size
        texts = content[at : at + first + other].decode()
        written = content[at + first + other : at + first + other + data]
        at += first + other + data
        events.append(
            Event(
                KINDS[kind],
                phase == 0,
                rank,
                pid,
                inode,
                offset,
                result,
                error,
                elapsed,
                texts[:first],
                texts[first:],
                written,
            )
        )
    return events


def shim() -> str:
    """The preloaded library, beside the program unless MECHSWEEP_FAULT_SHIM names another one."""
    beside = Path(program.program()).parent / "tests" / "reliability" / "libfault_shim.so"
    path = Path(os.environ.get("MECHSWEEP_FAULT_SHIM", beside))
    assert path.is_file(), f"{path} is missing: build the target fault_shim"
    return str(path)


@dataclass(frozen=True)
class Fault:
    """A disturbance; without an action only the folder is watched."""

    kind: str = "any"
    nth: int = 0
    action: str = ""
    repeat: str = "once"
    rank: int | None = None
    all_ranks: bool = False

    def __str__(self):
        where = "" if self.rank is None else f" on rank {self.rank}"
        return f"{self.action} {self.repeat} at {self.kind} {self.nth}{where}"

    def environment(self, folder: Path, trace: Path | None) -> dict:
        values = {"MECHSWEEP_FAULT_FOLDER": str(folder)}
        if trace is not None:
            values["MECHSWEEP_FAULT_TRACE"] = str(trace)
        if not self.action:
            return values
        values |= {
            "MECHSWEEP_FAULT_KIND": self.kind,
            "MECHSWEEP_FAULT_NTH": str(self.nth),
            "MECHSWEEP_FAULT_ACTION": self.action,
            "MECHSWEEP_FAULT_REPEAT": self.repeat,
            "MECHSWEEP_FAULT_ALL": "1" if self.all_ranks else "0",
        }
        if self.rank is not None:
            values["MECHSWEEP_FAULT_RANK"] = str(self.rank)
        return values


def disturbed(
    arguments, ranks: int | None, fault: Fault, folder: Path, trace: Path | None = None
) -> program.Outcome:
    """Runs the program with the library preloaded (not into mpirun) to its end."""
    values = fault.environment(folder, trace) | {"LD_PRELOAD": shim()}
    words = [f"{name}={value}" for name, value in values.items()]
    command = program._command(arguments, ranks)
    place = command.index(program.program())
    command[place:place] = ["env", *words]
    # What a killed mpirun leaves goes away with the scratch folder.
    names = ("orte_tmpdir_base", "btl_vader_backing_directory")
    beside = {f"OMPI_MCA_{name}": str(folder.parent) for name in names}
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        errors="replace",
        stdin=subprocess.DEVNULL,
        timeout=PATIENCE_S,
        env=program._environment(beside),
        check=False,
    )
    return program.Outcome(done.returncode, done.stdout, done.stderr)


def write_sweep(path: Path, runs: int = 2, prompts: int = 3, **execution) -> Path:
    """A sweep of `runs` small runs of a unit or two each, on a small random model."""
    return program.write_config(
        path,
        [{"id": "m", "path": str(program.CHECKPOINTS / "llama-random")}],
        [
            {
                "id": "p",
                "kind": "repeated_random",
                "count": prompts,
                "period": 5,
                "repeats": 2,
                "prefix": 0,
            }
        ],
        [
            {"id": f"h{i}", "kind": "head_ablation", "operation": "zero", "positions": [i]}
            for i in range(runs)
        ],
        seed=5,
        execution={"threads_per_rank": 1} | execution,
    )


@dataclass(frozen=True)
class Workload:
    """A command to disturb: what it needs is copied from `start`, what it makes is `results`."""

    name: str
    arguments: tuple
    ranks: int | None
    start: Path  # folder with the files that are there before
    results: str  # name of the file whose digest counts
    files: frozenset[str]  # all that may be there afterwards
    expected: str = ""  # its digest when nothing disturbs it
    texts: dict = field(default_factory=dict)  # side files, whole
    is_logged: bool = False  # units are in STEM.log before they are in the file
    is_damaged: bool = False  # the results, before the command mends them

    def prepare(self, folder: Path):
        if folder.exists():
            shutil.rmtree(folder)
        shutil.copytree(self.start, folder)

    def command(self, folder: Path) -> list[str]:
        return [str(word).replace("@", str(folder)) for word in self.arguments]


def undisturbed(workload: Workload, folder: Path) -> Workload:
    """The same with its expected outcome filled in."""
    workload.prepare(folder)
    program.must(*workload.command(folder), ranks=workload.ranks)
    texts = {
        name: (folder / name).read_bytes() for name in workload.files if not name.endswith("5")
    }
    texts = {name: text for name, text in texts.items() if name.endswith(("csv", "json"))}
    made = program.digest(folder / workload.results)
    return Workload(**(workload.__dict__ | {"expected": made, "texts": texts}))


def run_workloads(base: Path, runs: int = 2) -> list[Workload]:
    """`run` from nothing: alone, on two ranks, and on two ranks that write a log."""
    start = base / "empty"
    start.mkdir()
    made = frozenset({"r.h5", "r.meta"})
    shared = ("run", write_sweep(base / "sweep.yaml", runs), "--out", "@/r.h5")
    logged = ("run", write_sweep(base / "logged.yaml", runs, store="log"), "--out", "@/r.h5")
    workloads = [
        Workload("run", shared, None, start, "r.h5", made),
        Workload("run on 2 ranks", shared, 2, start, "r.h5", made),
        Workload("run on 2 ranks, log mode", logged, 2, start, "r.h5", made, is_logged=True),
    ]
    return [undisturbed(workload, base / "undisturbed") for workload in workloads]


def file_workloads(base: Path) -> list[Workload]:
    """What is done to files that are there: `reduce`, `merge` of two parts, `verify --restore`."""
    config = write_sweep(base / "done.yaml")
    folders = {name: base / name for name in ("done", "parts", "torn")}
    for folder in folders.values():
        folder.mkdir()
    program.must("run", config, "--out", folders["done"] / "r.h5")
    for part in (1, 2):
        out = folders["parts"] / f"p{part}.h5"
        program.must("run", config, "--out", out, "--part", f"{part}/2")
    shutil.copytree(folders["done"], folders["torn"], dirs_exist_ok=True)
    tear_metadata(folders["torn"] / "r.h5")
    made = frozenset({"r.h5", "r.meta"})
    summary = made | {"r.summary.h5", "r.summary.meta", "r.summary.csv", "r.summary.json"}
    merged = made | {f"p{part}.{suffix}" for part in (1, 2) for suffix in ("h5", "meta")}
    merge = ("merge", "@/r.h5", "@/p1.h5", "@/p2.h5")
    restore = ("verify", "@/r.h5", "--restore")
    workloads = [
        Workload("reduce", ("reduce", "@/r.h5"), None, folders["done"], "r.summary.h5", summary),
        Workload("merge", merge, None, folders["parts"], "r.h5", merged),
        Workload("restore", restore, None, folders["torn"], "r.h5", made, is_damaged=True),
    ]
    return [undisturbed(workload, base / "undisturbed") for workload in workloads]


def tear_metadata(results: Path):
    """Zeroes the root group's object header, without which HDF5 finds nothing."""
    with h5py.File(results) as file:
        place = h5py.h5o.get_info(file.id).addr
    with results.open("r+b") as file:
        file.seek(place)
        file.write(bytes(64))
    assert program.run("verify", results).status == program.INPUT


def make_workloads(base: Path) -> list[Workload]:
    return run_workloads(base) + file_workloads(base)


def count_calls(workload: Workload, folder: Path, trace: Path) -> dict:
    """Calls below the folder by (rank, kind) when nothing disturbs the workload."""
    workload.prepare(folder)
    trace.unlink(missing_ok=True)
    outcome = disturbed(workload.command(folder), workload.ranks, Fault(), folder, trace)
    assert outcome.status == program.DONE, outcome.err
    return Counter((e.rank, e.kind) for e in read_trace(trace) if not e.is_begin)


def digest_of(results: Path) -> tuple[int, str]:
    """Exit status of verify, and the digest that it prints or ''."""
    outcome = program.run("verify", results)
    found = re.search(r"^digest +([0-9a-f]{64})$", outcome.out, re.MULTILINE)
    return outcome.status, found[1] if found else ""


class Campaign:
    """Runs cases, some at once, and prints what failed and a table of what was tried."""

    def __init__(self, jobs: int):
        self.jobs = jobs
        self.tried = Counter()
        self.failures: list[str] = []
        self.started = time.monotonic()

    def run(self, cases: list, check, name_of):
        """`check(case, number)` returns sentences about what was wrong."""

        def one(numbered):
            number, case = numbered
            try:
                return case, check(case, number)
            except (AssertionError, subprocess.TimeoutExpired, OSError) as error:
                return case, [f"{type(error).__name__}: {error}"]

        with ThreadPoolExecutor(self.jobs) as pool:
            for case, wrong in pool.map(one, enumerate(cases)):
                self.tried[name_of(case)] += 1
                for sentence in wrong:
                    self.failures.append(f"{case}: {sentence}")
                    print(f"FAILED {case}: {sentence}", flush=True)

    def report(self) -> int:
        width = max((len(name) for name in self.tried), default=0)
        for name, count in self.tried.items():
            print(f"{name:<{width}}  {count:6d}")
        total, spent = sum(self.tried.values()), time.monotonic() - self.started
        print(f"{'in all':<{width}}  {total:6d}  failed {len(self.failures)}  ({spent:.0f} s)")
        return 1 if self.failures else 0


def parser(text: str, count: int) -> argparse.ArgumentParser:
    """Options that all campaigns have. `count` is the default sample; 0 is everything."""
    out = argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    out.add_argument("--count", type=int, default=count, help="cases to try; 0: all of them")
    out.add_argument("--seed", type=int, default=1, help="of the sample")
    out.add_argument("--jobs", type=int, default=1, help="cases at once")
    out.add_argument("--work", type=Path, help="folder for scratch files, kept; default: temporary")
    return out


def sample(cases: list, count: int, seed: int) -> list:
    """A seeded sample in the original order; everything when count is 0."""
    if count == 0 or count >= len(cases):
        return cases
    chosen = sorted(random.Random(seed).sample(range(len(cases)), count))
    return [cases[place] for place in chosen]


class Scratch:
    """The folder that --work names, or one that goes away."""

    def __init__(self, named: Path | None):
        self.named = named

    def __enter__(self) -> Path:
        if self.named is not None:
            shutil.rmtree(self.named, ignore_errors=True)
            self.named.mkdir(parents=True)
            return self.named.resolve()
        self.temporary = tempfile.mkdtemp(prefix="mechsweep-faults-")
        return Path(self.temporary).resolve()

    def __exit__(self, *_):
        if self.named is None:
            shutil.rmtree(self.temporary, ignore_errors=True)
