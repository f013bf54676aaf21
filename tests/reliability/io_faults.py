#!/usr/bin/env python3
"""Fails every write, sync, rename, truncation, removal, open and close of small commands, one at a
time, with every error number, and looks at what the program makes of it.

`run` alone, on two ranks and in log mode, `reduce`, `merge` and `verify --restore` are tried. For
each call of each kind (counted in an undisturbed run) and each of EIO, ENOSPC, EDQUOT, EINTR and a
short write:

- exit status 0 only if the file is complete and has the digest of an undisturbed run;
- EINTR and short writes do no harm at all;
- otherwise exit status 4 and one sentence that names the file and says what to do;
- no temporary file, no half side file and, but for ranks that had to abort, no lock stays behind;
- the same command started again without the fault completes, with the undisturbed digest.

Some further cases keep the fault on: a disk that stays full from the Nth call on, and every other
call interrupted or cut short. Exit status 1 if anything was otherwise; each such case is printed.

--check-shim compares the calls that the preloaded library saw with those that strace saw.
"""

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import fault_tools as tools
import system_program as program
from fault_tools import ERRORS, HARMLESS, KINDS, Campaign, Fault, Workload

# What a sentence that says what to do has somewhere.
ADVICE = re.compile(
    r"\b(again|check|choose|free|give|mend|put|raise|remove|start|try|use|wait)\b", re.IGNORECASE
)


@dataclass(frozen=True)
class Case:
    workload: Workload
    fault: Fault

    def __str__(self):
        return f"{self.workload.name}: {self.fault}"

    @property
    def group(self) -> str:
        repeat = "" if self.fault.repeat == "once" else f" {self.fault.repeat}"
        return f"{self.workload.name}: {self.fault.kind}{repeat}"


def single_faults(workload: Workload, calls: dict) -> list[Case]:
    cases = []
    for (rank, kind), count in sorted(calls.items()):
        of_kind = ERRORS if kind == "write" else tuple(e for e in ERRORS if e != "short")
        where = rank if workload.ranks else None
        for nth in range(1, count + 1):
            cases += [Case(workload, Fault(kind, nth, error, rank=where)) for error in of_kind]
    return cases


def lasting_faults(workload: Workload, calls: dict) -> list[Case]:
    """A disk that is full from some write on; storms of interruptions and of short writes."""
    writes = max(count for (_, kind), count in calls.items() if kind == "write")
    places = range(1, writes + 1, 5)
    full = [Fault("write", nth, "ENOSPC", repeat="onwards") for nth in places]
    dead = [Fault("any", nth, "EIO", repeat="onwards") for nth in places]
    kinds = [kind for kind in KINDS if kind != "close"]
    # HDF5 opens a file by several calls of which it repeats none: strictly every other one would
    # defeat each new attempt at the same place, which no signal does.
    repeats = {"open": "random", "truncate": "random"}
    storms = [
        Fault(kind, nth, "EINTR", repeat=repeats.get(kind, "alternate"))
        for kind in kinds
        for nth in (0, 1)
    ]
    storms += [Fault("write", nth, "short", repeat="alternate") for nth in (0, 1)]
    storms += [Fault("write", 1, "short", repeat="onwards")]
    return [Case(workload, fault) for fault in full + dead + storms]


def excused(case: Case, outcome: program.Outcome, folder: Path) -> set[str]:
    """Where nothing can be removed any more, everything. Where MPI_Abort ended the ranks in the
    middle of their work, the lock, which the next launch sees to be stale. In log mode, the log."""
    workload = case.workload
    if outcome.status == program.DONE:
        # What the next launch takes over or removes; a log without segments.
        unneeded = {path.name for kind in ("*.lock", ".*.tmp") for path in folder.glob(kind)}
        unneeded |= {path.name for path in folder.glob("*.log") if not any(path.iterdir())}
        return unneeded if case.fault.kind == "unlink" else set()
    if case.fault.kind == "unlink" or (case.fault.kind, case.fault.repeat) == ("any", "onwards"):
        return {path.name for path in folder.iterdir()}
    stem = Path(workload.results).stem
    left = {f"{stem}.lock"} if workload.ranks else set()
    return left | {f"{stem}.log"} if workload.is_logged else left


def left_behind(
    workload: Workload, folder: Path, excuse: set | frozenset = frozenset()
) -> list[str]:
    wrong = []
    strange = {path.name for path in folder.iterdir()} - workload.files - excuse
    if strange:
        wrong.append(f"left behind: {sorted(strange)}")
    for name, text in workload.texts.items():
        if (folder / name).exists() and (folder / name).read_bytes() != text:
            wrong.append(f"{name} is there, but not whole")
    return wrong


def is_whole(workload: Workload, folder: Path) -> list[str]:
    wrong = []
    status, digest = tools.digest_of(folder / workload.results)
    if (status, digest) != (program.DONE, workload.expected):
        wrong.append(f"verify says {status} and the digest is '{digest[:12]}'")
    missing = workload.files - {path.name for path in folder.iterdir()}
    if missing:
        wrong.append(f"missing: {sorted(missing)}")
    return wrong


def fault_opens(fault: Fault) -> bool:
    return fault.kind in ("open", "any")


def may_complain(case: Case) -> bool:
    """Linux has closed the descriptor all the same, and nobody can do more than say so."""
    return case.fault.kind == "close"


def wrong_words(case: Case, folder: Path, outcome: program.Outcome) -> list[str]:
    """What is wrong with how it failed. Ranks that meet the same lasting fault may all say so."""
    wrong = []
    # What cannot be opened to be read is like a damaged file (3).
    allowed = (program.RESOURCE, program.INPUT) if fault_opens(case.fault) else (program.RESOURCE,)
    if outcome.status not in allowed:
        wrong.append(f"exit status {outcome.status}: {outcome.err[-300:]}")
    several = case.fault.repeat != "once" and case.workload.ranks
    complaints = outcome.complaints
    if not complaints and case.workload.is_damaged:  # verify tells of damage on standard output
        complaints = [line for line in outcome.out.splitlines() if line.startswith("damaged ")]
    if not complaints or (len(complaints) > 1 and not several):
        wrong.append(f"{len(complaints)} complaints: {outcome.err[-600:]}")
    for line in complaints:
        if str(folder) not in line:
            wrong.append(f"names no file: {line}")
        if not ADVICE.search(line.replace(str(folder), "")):
            wrong.append(f"does not say what to do: {line}")
    return wrong


def check(case: Case, folder: Path) -> list[str]:
    workload = case.workload
    workload.prepare(folder)
    command = workload.command(folder)
    outcome = tools.disturbed(command, workload.ranks, case.fault, folder)
    if outcome.status == program.DONE:
        wrong = is_whole(workload, folder)
    else:
        wrong = wrong_words(case, folder, outcome)
        if case.fault.action in HARMLESS and not may_complain(case):
            wrong.append(f"was not harmless: {outcome.complaints}")
    wrong += left_behind(workload, folder, excused(case, outcome, folder))
    again = program.run(*command, ranks=workload.ranks)
    if again.status != program.DONE:
        wrong.append(f"started again: {again.status}: {again.err[-300:]}")
    else:
        wrong += [f"started again: {text}" for text in is_whole(workload, folder)]
        wrong += [f"started again: {text}" for text in left_behind(workload, folder)]
    return wrong


def cases_of(workloads: list[Workload], base: Path) -> list[Case]:
    cases = []
    for workload in workloads:
        calls = tools.count_calls(workload, base / "counted", base / "trace")
        cases += single_faults(workload, calls) + lasting_faults(workload, calls)
    return cases


def campaign(base: Path, count: int, seed: int, jobs: int, only: str = "") -> Campaign:
    workloads = [w for w in tools.make_workloads(base) if re.search(only, w.name)]
    cases = tools.sample(cases_of(workloads, base), count, seed)
    result = Campaign(jobs)

    def one(case: Case, number: int) -> list[str]:
        folder = base / f"case{number}"
        wrong = check(case, folder)
        tools.shutil.rmtree(folder)
        return wrong

    result.run(cases, one, lambda case: case.group)
    return result


STRACE_KINDS = {
    "open": r"(openat|open|creat)\(",
    "write": r"(write|pwrite64|writev|pwritev|pwritev2|copy_file_range|sendfile)\(",
    "sync": r"(fsync|fdatasync|sync_file_range|msync|syncfs)\(",
    "rename": r"(rename|renameat|renameat2|link|linkat)\(",
    "truncate": r"(truncate|ftruncate|fallocate)\(",
    "unlink": r"(unlink|unlinkat|rmdir)\(",
    "close": r"close\(",
}


def forked_readers(lines: list[str]) -> set[str]:
    """Processes that were forked and run no other program: the library leaves them alone."""
    forked, executed, flags = set(), set(), {}
    for line in lines:
        pid, call = line.split(None, 1)
        if re.match(r"(<\.\.\. )?(clone3?|v?fork)\b", call):
            flags[pid] = call if "resumed>" not in call else flags.get(pid, "") + call
            made = re.search(r"\) += (\d+)", call)
            if made and "CLONE_THREAD" not in flags[pid]:
                forked.add(made[1])
        if call.startswith("execve("):
            executed.add(pid)
    return forked - executed


def strace_counts(log: Path, folder: Path) -> dict:
    """Calls that name the folder or a file below it, by kind. closedir's own close cannot be
    seen by a library, and only ends a reading, so it is left out."""
    counts = dict.fromkeys(KINDS, 0)
    listings = 0
    lines = log.read_text(errors="replace").splitlines()
    ignored = forked_readers(lines)
    for line in lines:
        if str(folder) not in line or "resumed>" in line or line.split()[0] in ignored:
            continue
        call = line.split(None, 1)[1]
        listings += bool(re.match(r"getdents64\(.* = 0$", call))
        for kind, pattern in STRACE_KINDS.items():
            counts[kind] += bool(re.match(pattern, call))
    counts["close"] -= listings
    return counts


def check_shim(base: Path) -> int:
    """Whether the library sees all that strace sees, for every workload."""
    differences = 0
    for workload in tools.make_workloads(base):
        folder, log, trace = base / "traced", base / "strace.txt", base / "trace"
        workload.prepare(folder)
        trace.unlink(missing_ok=True)
        values = Fault().environment(folder, trace) | {"LD_PRELOAD": tools.shim()}
        command = program._command(workload.command(folder), workload.ranks)
        place = command.index(program.program())
        command[place:place] = ["env", *(f"{k}={v}" for k, v in values.items())]
        calls = "trace=file,desc,process"
        subprocess.run(
            ["strace", "-f", "-y", "-e", calls, "-o", str(log), *command],
            check=True,
            capture_output=True,
            env=program._environment(None),
        )
        seen = dict.fromkeys(KINDS, 0)
        for event in tools.read_trace(trace):
            seen[event.kind] += not event.is_begin
        truth = strace_counts(log, folder)
        differences += seen != truth
        print(f"{workload.name}: library {seen}\n{'':>{len(workload.name)}}  strace  {truth}")
    return 1 if differences else 0


def main() -> int:
    parser = tools.parser(__doc__, 0)
    parser.add_argument("--only", default="", help="a pattern: workloads whose name matches")
    parser.add_argument("--check-shim", action="store_true", help="compare with strace and stop")
    options = parser.parse_args()
    with tools.Scratch(options.work) as base:
        if options.check_shim:
            return check_shim(base)
        return campaign(base, options.count, options.seed, options.jobs, options.only).report()


if __name__ == "__main__":
    sys.exit(main())
