#!/usr/bin/env python3
"""What keeping results safe costs: the share of a sweep's time that goes into writing payloads and
journal entries and into syncing them.

Runs a config from nothing with the library of fault_shim.cpp preloaded, which times each call on
the results file, and compares that with the seconds that the journal gives for computing the units.
Making the file (laying it out, prefilling it) happens once and is shown apart. The time that HDF5
and MPI spend around the system's calls is not in it.

    tests/reliability/journal_cost.py                         configs/quickstart.yaml on two ranks
    tests/reliability/journal_cost.py --config mine.yaml --ranks 4
"""

import argparse
import sys
import time
from collections import defaultdict
from pathlib import Path

import fault_tools as tools
import numpy as np
import system_program as program
from fault_tools import Fault

MOST_PERCENT = 1.0


def computing_seconds(results: Path) -> dict:
    """By rank, from the journal: bytes 8 to 12 are the rank, 16 to 24 the seconds."""
    seconds = defaultdict(float)
    for slot in program.journal(results):
        if slot[0] == program.JOURNAL_DONE:
            seconds[int(slot[8:12].view("<u4")[0])] += float(slot[16:24].view("<f8")[0])
    return seconds


def io_seconds(events: list, results: Path) -> tuple[dict, float]:
    """Seconds and calls of the finished file by (rank, kind), and the seconds of making it."""
    spent, making = defaultdict(lambda: [0.0, 0]), 0.0
    for event in events:
        if event.is_begin or event.kind not in ("write", "sync"):
            continue
        if event.path == str(results):
            spent[event.rank, event.kind][0] += event.elapsed_ns * 1e-9
            spent[event.rank, event.kind][1] += 1
        else:
            making += event.elapsed_ns * 1e-9
    return spent, making


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, default=program.ROOT / "configs/quickstart.yaml")
    parser.add_argument("--ranks", type=int, default=2, help="0: alone, without mpirun")
    parser.add_argument("--work", type=Path, help="folder for scratch files, kept")
    options = parser.parse_args()
    tools.PATIENCE_S = 3600
    with tools.Scratch(options.work) as base:
        (base / "out").mkdir()
        results, trace = base / "out" / "r.h5", base / "trace"
        start = time.monotonic()
        outcome = tools.disturbed(
            ["run", options.config, "--out", results],
            options.ranks or None,
            Fault(),
            base / "out",
            trace,
        )
        wall = time.monotonic() - start
        assert outcome.status == program.DONE, outcome.err
        computing = computing_seconds(results)
        spent, making = io_seconds(tools.read_trace(trace), results)
        return report(computing, spent, making, wall)


def report(computing: dict, spent: dict, making: float, wall: float) -> int:
    print("rank  computing s  writes      s  syncs      s  share")
    shares = []
    for rank in sorted(computing):
        (write_s, writes), (sync_s, syncs) = spent[rank, "write"], spent[rank, "sync"]
        share = 100 * (write_s + sync_s) / (computing[rank] + write_s + sync_s)
        shares.append(share)
        print(
            f"{rank:4d}  {computing[rank]:11.2f}  {writes:6d} {write_s:6.3f}"
            f"  {syncs:5d} {sync_s:6.3f}  {share:.3f} %"
        )
    print(f"making the file: {making:.3f} s; the whole command: {wall:.1f} s")
    print(f"mean share {np.mean(shares):.3f} %, at most {MOST_PERCENT} % is promised")
    return 0 if np.mean(shares) < MOST_PERCENT else 1


if __name__ == "__main__":
    sys.exit(main())
