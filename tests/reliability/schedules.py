#!/usr/bin/env python3
"""Works through sweeps of units that cost nothing, by the real dispatch, in random schedules.

First on each number of ranks of --ranks, undisturbed; then --count times in random schedules: units
of random length that fail at random, launches that are stopped after a random unit and resumed on
another number of ranks, until the sweep is complete. After each sweep:

- every unit succeeded exactly once in all launches together, and was tried at most once in each;
- no unit began before all units that its stage needs had ended;
- the file is undamaged, every number in it is what it must be;
- the digest is that of the first sweep.

    tests/reliability/schedules.py --count 200 --seed 7
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNS, UNITS = 2, 20
PER_RUN = 2 * UNITS + 1
ALL = RUNS * PER_RUN
EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED = 0, 1, 5
MOST_LAUNCHES = 40


def needed(unit):
    """The units that must have ended before this one (see synthetic_sweep.cpp)."""
    run, place = divmod(unit, PER_RUN)
    first = run * PER_RUN
    if place < UNITS:
        return []
    if place > UNITS:
        return [first + UNITS]
    return list(range(first, first + UNITS)) + ([first - PER_RUN + UNITS] if run else [])


def launch(options, folder, number, ranks, extra):
    """One launch; its exit status and its units as (unit, start, end, ok)."""
    log = folder / f"log{number}"
    command = [options.mpiexec, "--oversubscribe", "-n", str(ranks)] if ranks else []
    command += [options.build / "mpi_synthetic_sweep", "run", "--out", folder / "a.h5"]
    command += ["--runs", RUNS, "--units", UNITS, "--log", log, *extra]
    with (folder / f"out{number}").open("w") as out:
        done = subprocess.run(
            [str(word) for word in command], stdout=out, stderr=subprocess.STDOUT, timeout=240
        )
    units = []
    for path in folder.glob(f"log{number}.*"):
        for line in path.read_text().splitlines():
            unit, start, end, ok = line.split()
            units.append((int(unit), float(start), float(end), ok == "1"))
    return done.returncode, units


def check_launch(units, succeeded):
    """What one launch did wrong, given the units that had succeeded before."""
    faults, ends = [], {}
    for unit, _, end, _ in units:
        if unit in ends:
            faults.append(f"unit {unit} was computed twice in one launch")
        if unit in succeeded:
            faults.append(f"unit {unit} was computed again")
        ends[unit] = end
    for unit, start, _, _ in units:
        for other in needed(unit):
            if other in ends and ends[other] > start:
                faults.append(f"unit {unit} began before unit {other} had ended")
            if other not in ends and other not in succeeded:
                faults.append(f"unit {unit} was computed without unit {other}")
    return faults


def check_file(options, folder, digest):
    """What is wrong with the complete file; its digest."""
    command = [options.build / "mpi_synthetic_sweep", "check", "--out", folder / "a.h5"]
    command += ["--runs", RUNS, "--units", UNITS]
    text = subprocess.run(
        [str(word) for word in command], check=True, capture_output=True, text=True
    ).stdout
    report = json.loads(text)
    faults = list(report["damage"])
    if report["done"] != ALL or report["left"] or report["failed"]:
        faults.append(f"the file is not complete: {text.strip()}")
    if report["wrong_values"]:
        faults.append(f"{report['wrong_values']} numbers are wrong")
    if digest not in (None, report["digest"]):
        faults.append(f"digest {report['digest']}, not {digest}")
    return faults, report["digest"]


def random_launch(choice):
    """Ranks and options of one launch of a random schedule."""
    ranks = choice.choice([0, 1, 2, 3, 4, 6])
    extra = [
        "--seed",
        choice.randrange(1 << 30),
        "--delay-us",
        choice.choice([0, 300, 3000, 10000]),
    ]
    extra += ["--predicted-s", choice.choice([0.001, 0.5, 20])]
    if choice.random() < 0.5:
        extra += ["--fail-share", choice.choice([0.02, 0.2])]
    if choice.random() < 0.6:
        extra += ["--stop-rank", choice.randrange(max(1, ranks))]
        extra += ["--stop-after", choice.randint(1, 20)]
    return ranks, extra


def sweep(options, launches, digest):
    """A sweep from nothing to its end. `launches` gives (ranks, options) of one after another."""
    folder = Path(tempfile.mkdtemp(prefix="mechsweep-schedules-"))
    succeeded, faults, counts, ranks_used = set(), [], {}, []
    status = None
    for number, (ranks, extra) in enumerate(launches):
        status, units = launch(options, folder, number, ranks, extra)
        counts[status] = counts.get(status, 0) + 1
        ranks_used.append(ranks)
        faults += check_launch(units, succeeded)
        succeeded |= {unit for unit, _, _, ok in units if ok}
        if status == EXIT_DONE or faults:
            break
        if status not in (EXIT_FAILED, EXIT_INTERRUPTED):
            faults.append(f"launch {number} ended with status {status}")
            break
        if number >= MOST_LAUNCHES:
            faults.append(f"not complete after {number} launches")
            break
    if not faults:
        if len(succeeded) != ALL:
            faults.append(f"{len(succeeded)} of {ALL} units were computed")
        wrong, digest = check_file(options, folder, digest)
        faults += wrong
    if faults:
        print(f"  kept: {folder}")
    else:
        shutil.rmtree(folder)
    return faults, digest, counts, ranks_used


def random_launches(seed):
    choice = random.Random(seed)
    while True:
        yield random_launch(choice)


def report(name, faults, started, counts, ranks_used):
    total = sum(counts.values())
    print(
        f"{name:>14}  launches {total:3d} (done {counts.get(0, 0)}, with failures "
        f"{counts.get(1, 0)}, stopped {counts.get(5, 0)})  ranks {','.join(map(str, ranks_used))}"
        f"  {time.monotonic() - started:.1f} s  {'FAULT' if faults else 'ok'}",
        flush=True,
    )
    for fault in faults[:10]:
        print(f"    {fault}")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    root = Path(__file__).resolve().parents[2]
    parser.add_argument("--build", type=Path, default=root / "build")
    parser.add_argument("--mpiexec", default=shutil.which("mpirun") or "mpirun")
    parser.add_argument("--ranks", default="1,2,4,16", help="undisturbed sweeps first")
    parser.add_argument("--count", type=int, default=20, help="random schedules")
    parser.add_argument("--seed", type=int, default=1, help="of the first; the next is one more")
    options = parser.parse_args()
    if os.geteuid() == 0:
        os.environ["OMPI_ALLOW_RUN_AS_ROOT"] = os.environ["OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"] = "1"
    digest, bad, totals = None, 0, {}
    cases = [(f"{ranks} ranks", [(ranks, [])]) for ranks in map(int, options.ranks.split(","))]
    cases += [
        (f"seed {seed}", random_launches(seed))
        for seed in range(options.seed, options.seed + options.count)
    ]
    for name, launches in cases:
        started = time.monotonic()
        faults, digest, counts, ranks_used = sweep(options, launches, digest)
        report(name, faults, started, counts, ranks_used)
        bad += bool(faults)
        for status, count in counts.items():
            totals[status] = totals.get(status, 0) + count
    print(
        f"{len(cases)} sweeps, {sum(totals.values())} launches, {totals.get(5, 0)} of them stopped "
        f"and {totals.get(1, 0)} with failed units; {bad} with faults; digest {digest}"
    )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
