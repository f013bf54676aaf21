"""Kills a small sweep again and again, in every way and at random moments, until it is complete.

    .deps/analysis/bin/python tests/reliability/kill_campaign.py --kills 2000

Every launch has another number of ranks (1 to 4; one runs without MPI). It is killed at a random
moment of its life, or right when a unit is journalled: SIGKILL for one worker, for rank 0, for
mpirun, or for all processes at once. After each kill the file is read with h5py: no unit that was
committed may be lost or changed. When a sweep is complete its digest must be that of an undisturbed
run, and nothing may lie beside it but STEM.meta. Prints a table; exit status 1 when anything was
not as promised.
"""

import argparse
import collections
import json
import random
import shutil
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import campaign
import numpy as np

TARGETS = ("worker", "rank 0", "mpirun", "all")
MOST_RANKS = 4


class Count:
    """What was tried and what was found, of all threads."""

    def __init__(self, kills: int):
        self._lock = threading.Lock()
        self._kills_left = kills
        self.by_target: collections.Counter = collections.Counter()
        self.by_moment: collections.Counter = collections.Counter()
        self.sweeps = self.launches = self.resumes_with_units = 0
        self.lost = self.unreadable = self.wrong_digests = self.left_over = 0
        self.in_flight_recomputed = self.most_in_flight = 0
        self.faults: list[str] = []

    def take_kill(self) -> bool:
        with self._lock:
            if self._kills_left <= 0:
                return False
            self._kills_left -= 1
            return True

    def give_back_kill(self):
        """A launch ended before it could be killed."""
        with self._lock:
            self._kills_left += 1

    def is_over(self) -> bool:
        with self._lock:
            return self._kills_left <= 0

    def killed(self, target: str, moment: str):
        with self._lock:
            self.by_target[target] += 1
            self.by_moment[moment] += 1

    def add(self, **numbers):
        with self._lock:
            for name, number in numbers.items():
                setattr(self, name, getattr(self, name) + number)

    def fault(self, kind: str, sentence: str):
        with self._lock:
            setattr(self, kind, getattr(self, kind) + 1)
            self.faults.append(sentence)


class Sweep:
    """One results file, from nothing to complete, and everything that is done to it."""

    def __init__(
        self, folder: Path, config: Path, expected: str, dice: random.Random, count: Count
    ):
        self.folder, self.config, self.expected = folder, config, expected
        self.dice, self.count = dice, count
        self.results = folder / "r.h5"
        self.committed: np.ndarray | None = None  # slots of units that were done

    def run(self):
        """Until it is complete."""
        for number in range(1000):
            ranks = self.dice.randint(1, MOST_RANKS)
            log = self.folder / f"{number}.log"
            arguments = ["--log-level", "debug", "run", self.config, "--out", self.results]
            launch = campaign.Launch.start(arguments, ranks, log)
            self.count.add(launches=1)
            try:
                chosen = self.count.take_kill()
                killed = chosen and self.disturb(launch)
                if chosen and not killed:
                    self.count.give_back_kill()
                status = launch.end()
            finally:
                launch.kill_all()
            self.look(log, ranks, killed)
            if not killed and status == campaign.DONE:
                self.check_end()
                return
            if not killed:
                self.count.fault("wrong_digests", f"{log}: ended with status {status}")
                return
        raise AssertionError("a thousand launches did not complete a sweep")

    def disturb(self, launch: campaign.Launch) -> bool:
        """Whether it lived long enough to be killed."""
        moment = self.dice.choice(("time", "commit"))
        if moment == "time":
            self.wait(launch, self.dice.uniform(0.0, 3.5))
        else:
            self.wait_for_commits(launch, self.dice.randint(1, 12))
        if launch.process.poll() is not None:
            return False
        target = self.dice.choice(TARGETS)
        ranks = launch.rank_processes()
        if target == "all":
            launch.kill_all()
        elif target == "mpirun" or not ranks:
            target = "mpirun" if launch.ranks > 1 else "rank 0"
            campaign.kill(launch.process.pid)
        elif target == "rank 0" or launch.ranks == 1:
            target = "rank 0"
            campaign.kill(ranks[0])
        else:
            campaign.kill(self.dice.choice(ranks))
        self.count.killed(target, moment)
        return True

    @staticmethod
    def wait(launch: campaign.Launch, seconds: float):
        until = time.monotonic() + seconds
        while time.monotonic() < until and launch.process.poll() is None:
            time.sleep(0.002)

    def wait_for_commits(self, launch: campaign.Launch, commits: int):
        """Until so many more units are journalled: right behind a write."""
        until = time.monotonic() + 60.0
        before = 0 if self.committed is None else int(campaign.done_units(self.committed).sum())
        while launch.process.poll() is None and time.monotonic() < until:
            if self.results.exists():
                now = int((campaign.journal(self.results)[:, 0] == campaign.STATE_DONE).sum())
                if now >= before + commits:
                    return
            time.sleep(0.001)

    def look(self, log: Path, ranks: int, killed: bool):
        """Nothing committed may be gone; what was computed in vain is counted."""
        if not self.results.exists():
            if self.committed is not None:
                self.count.fault("lost", f"{log}: the results file is gone")
            return
        try:
            slots = campaign.journal(self.results)
        except OSError as error:
            self.count.fault("unreadable", f"{log}: {error}")
            return
        done = campaign.done_units(slots)
        before = 0
        if self.committed is not None:
            earlier = campaign.done_units(self.committed)
            before = int(earlier.sum())
            changed = int((slots[earlier] != self.committed[earlier]).any(axis=1).sum())
            if changed:
                self.count.fault("lost", f"{log}: {changed} committed units are not as they were")
            self.count.add(resumes_with_units=int(before > 0))
        self.committed = slots
        begun = log.read_text(errors="replace").count("begins unit")
        in_vain = begun - (int(done.sum()) - before)
        if killed:
            self.count.add(in_flight_recomputed=in_vain)
            self.count.most_in_flight = max(self.count.most_in_flight, in_vain - ranks)
            if in_vain > ranks:
                self.count.fault("lost", f"{log}: {in_vain} units in flight on {ranks} ranks")

    def check_end(self):
        self.count.add(sweeps=1)
        found = campaign.digest(self.results)
        if found != self.expected:
            self.count.fault("wrong_digests", f"{self.results}: {found}, not {self.expected}")
        names = {p.name for p in self.folder.iterdir() if p.suffix != ".log"}
        if names != {"r.h5", "r.meta"}:
            self.count.fault("left_over", f"{self.folder}: {sorted(names)}")


def worker(number: int, options, folder: Path, config: Path, expected: str, count: Count):
    dice = random.Random(f"{options.seed}-{number}")
    round_number = 0
    while not count.is_over():
        place = folder / f"{number}-{round_number}"
        place.mkdir()
        before = len(count.faults)
        Sweep(place, config, expected, dice, count).run()
        if len(count.faults) == before:
            shutil.rmtree(place)
        round_number += 1


def report(count: Count, seed: int, elapsed_s: float) -> dict:
    return {
        "seed": seed,
        "kills": sum(count.by_target.values()),
        "by target": dict(count.by_target),
        "by moment": dict(count.by_moment),
        "sweeps completed": count.sweeps,
        "launches": count.launches,
        "resumes with committed units": count.resumes_with_units,
        "committed units lost or changed": count.lost,
        "unreadable files": count.unreadable,
        "digests unlike the undisturbed one": count.wrong_digests,
        "folders with left-overs": count.left_over,
        "units in flight computed again": count.in_flight_recomputed,
        "most of them in one launch, beyond one a rank": max(0, count.most_in_flight),
        "elapsed_s": round(elapsed_s),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2, help="sweeps at a time")
    parser.add_argument("--folder", type=Path, help="keeps what went wrong; else a temporary one")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="kills-"))
    folder.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    config = campaign.write_sweep(folder / "sweep.yaml")
    undisturbed = folder / "undisturbed.h5"
    first = campaign.run("run", config, "--out", undisturbed)
    expected = campaign.digest(undisturbed)
    if first.returncode != campaign.DONE or expected is None:
        raise SystemExit(f"the undisturbed run failed: {first.stderr}")
    count = Count(options.kills)
    with ThreadPoolExecutor(options.jobs) as pool:
        jobs = [
            pool.submit(worker, i, options, folder, config, expected, count)
            for i in range(options.jobs)
        ]
        for job in jobs:
            job.result()
    print(json.dumps(report(count, options.seed, time.monotonic() - start), indent=1))
    for sentence in count.faults:
        print(sentence, file=sys.stderr)
    if not count.faults and options.folder is None:
        shutil.rmtree(folder)
    return 1 if count.faults else 0


if __name__ == "__main__":
    sys.exit(main())
