#!/usr/bin/env python3
"""Kills small commands before and after every call that changes files, and again while they
recover.

An undisturbed `run`, alone, on two ranks and in log mode, is counted first: every open, write,
sync, rename, truncation and removal below its folder. Then the run is killed (SIGKILL; on two ranks
one of them, or all and mpirun) before, after and, for writes, half-way through each of these calls.
A seeded part of the cases is killed a second time, at a seeded call of the run that takes over.
Then the sweep is run to its end. `reduce`, `merge` and `verify --restore` are killed alike. Checked
each time:

- after each kill, `verify` can read the file, if there is one, and finds no damage, but for the
  journal entry that a rank was killed in;
- a unit whose journal slot was whole is still done, and nobody has touched its slot;
- the launch that takes over does just the units that were not done (`run` without a log);
- the file that results has the digest of an undisturbed run, and nothing else is left beside it.

Exit status 1 if anything was otherwise; each such case is printed.
"""

import random
import re
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import fault_tools as tools
import numpy as np
import system_program as program
from campaign import done_units
from fault_tools import Campaign, Fault, Workload

KILLS = ("kill_before", "kill_after")


@dataclass(frozen=True)
class Case:
    workload: Workload
    first: Fault
    second: Fault | None = None

    def __str__(self):
        again = "" if self.second is None else f", then {self.second}"
        return f"{self.workload.name}: {self.first}{again}"

    @property
    def group(self) -> str:
        return f"{self.workload.name}: {self.first.kind}" + (", twice" if self.second else "")


def kills_of(workload: Workload, calls: Counter, rng: random.Random) -> list[Fault]:
    faults = []
    for (rank, kind), count in sorted(calls.items()):
        if kind == "close":  # changes nothing
            continue
        for nth in range(1, count + 1):
            actions = KILLS + (("kill_within",) if kind == "write" else ())
            where = rank if workload.ranks else None
            for action in actions:
                everybody = bool(workload.ranks) and rng.random() < 0.5
                faults.append(Fault(kind, nth, action, rank=where, all_ranks=everybody))
    return faults


def second_kill(workload: Workload, calls: Counter, rng: random.Random) -> Fault:
    """At a call that a recovery may or may not reach: it makes fewer than a run from nothing."""
    rank = rng.choice([0, 1]) if workload.ranks else None
    most = calls[(rank or 0, "write")] // 2
    action = rng.choice([*KILLS, "kill_within"])
    return Fault("any", rng.randint(1, max(2, most)), action, rank=rank)


def make_cases(workload: Workload, calls: Counter, seed: int, twice: float) -> list[Case]:
    rng = random.Random(seed)
    cases = []
    for fault in kills_of(workload, calls, rng):
        cases.append(Case(workload, fault))
        if rng.random() < twice:
            cases.append(Case(workload, fault, second_kill(workload, calls, rng)))
    return cases


def slots_of(case: Case, results: Path) -> np.ndarray | None:
    """Of a file that HDF5 can open."""
    if case.workload.is_damaged or not results.exists():
        return None
    return program.journal(results)


def check_survivors(before: np.ndarray | None, after: np.ndarray | None) -> list[str]:
    """What was done stays done, by the same attempt."""
    if before is None:
        return []
    if after is None:
        return ["the file is gone"]
    done = done_units(before)
    if not (after[done] == before[done]).all():
        return [f"slots of {int((after[done] != before[done]).any(axis=1).sum())} units changed"]
    return []


def check_readable(workload: Workload, results: Path) -> list[str]:
    if not results.exists() or workload.is_damaged:
        return []
    outcome = program.run("verify", results)
    if outcome.status in (program.DONE, program.INTERRUPTED):
        return []
    damaged = re.findall(r"^damaged +(.*)$", outcome.out, re.MULTILINE)
    torn = [line for line in damaged if line.startswith("the journal entry of unit ")]
    if outcome.status == program.INPUT and damaged == torn and len(torn) <= (workload.ranks or 1):
        return []
    return [f"verify after the kill: {outcome.status}: {outcome.out} {outcome.err}"]


def kill_once(case: Case, fault: Fault, folder: Path) -> list[str]:
    """Runs into the kill; says what did not survive it. A recovery may end before its kill, and on
    ranks it is chance who gets a unit and so who makes how many calls."""
    workload, results = case.workload, folder / case.workload.results
    before = slots_of(case, results)
    outcome = tools.disturbed(workload.command(folder), workload.ranks, fault, folder)
    wrong = check_survivors(before, slots_of(case, results)) + check_readable(workload, results)
    if outcome.status == program.DONE and fault is case.first and not workload.ranks:
        wrong.append("was not killed")
    return wrong


def check(case: Case, folder: Path) -> list[str]:
    workload, results = case.workload, folder / case.workload.results
    workload.prepare(folder)
    wrong = kill_once(case, case.first, folder)
    if case.second is not None:
        wrong += kill_once(case, case.second, folder)
    before = slots_of(case, results)
    again = program.run(*workload.command(folder), ranks=workload.ranks)
    if again.status != program.DONE:
        return [*wrong, f"started again: {again.status}: {again.err[-500:]}"]
    after = slots_of(case, results)
    wrong += check_survivors(before, after)
    if workload.name.startswith("run") and not workload.is_logged:
        wrong += check_attempts(before, after)
    status, digest = tools.digest_of(results)
    if (status, digest) != (program.DONE, workload.expected):
        wrong.append(f"verify says {status} and the digest is '{digest[:12]}'")
    left = {path.name for path in folder.iterdir()}
    if left != workload.files:
        wrong.append(f"left: {sorted(left)}")
    return wrong


def check_attempts(before: np.ndarray | None, after: np.ndarray) -> list[str]:
    """The last launch did all that was left and nothing else."""
    attempts = program.attempts_of(after)
    if before is None:
        return [] if (attempts == 1).all() else ["a new file's units are of several attempts"]
    done = done_units(before)
    if done.all():
        return []
    if done.any() and attempts[~done].min() <= attempts[done].max():
        return ["units that were left have the attempt of an earlier launch"]
    return [] if len(set(attempts[~done])) == 1 else ["the rest is of several launches"]


def workloads_of(base: Path) -> list[Workload]:
    """More units than io_faults.py has, so that there is something to lose."""
    return tools.run_workloads(base, runs=3) + tools.file_workloads(base)


def campaign(base: Path, count: int, seed: int, jobs: int, twice: float, only="") -> Campaign:
    cases = []
    for workload in workloads_of(base):
        if not re.search(only, workload.name):
            continue
        calls = tools.count_calls(workload, base / "counted", base / "trace")
        cases += make_cases(workload, calls, seed, twice)
    result = Campaign(jobs)

    def one(case: Case, number: int) -> list[str]:
        folder = base / f"case{number}"
        wrong = check(case, folder)
        tools.shutil.rmtree(folder)
        return wrong

    result.run(tools.sample(cases, count, seed), one, lambda case: case.group)
    return result


def main() -> int:
    parser = tools.parser(__doc__, 0)
    parser.add_argument("--only", default="", help="a pattern: workloads whose name matches")
    parser.add_argument(
        "--twice", type=float, default=0.3, help="share of the cases that are killed twice as well"
    )
    options = parser.parse_args()
    with tools.Scratch(options.work) as base:
        return campaign(
            base, options.count, options.seed, options.jobs, options.twice, options.only
        ).report()


if __name__ == "__main__":
    sys.exit(main())
