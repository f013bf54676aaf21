"""Damages the files of a small finished sweep in every way, and asks every command what it says.

    .deps/analysis/bin/python tests/reliability/corruptions.py --count 10000 --jobs 2

A case is one file (payload, journal, attempts or metadata of the results, STEM.meta, the summary),
one kind of damage (bits flipped, a block zeroed, set to 0xFF or swapped with another, a tail cut
off, garbage appended) and, for the results, STEM.meta kept or removed. Then verify, status, export,
reduce, run, and verify --restore where run asks for it, look at the damaged files. What is right:

- no command hangs (30 s), dies of a signal or reports an internal error;
- verify names the damage (exit 3) or says that units are left (5); or it does neither, and then
  the damage is harmless: the digest is the undisturbed one;
- export prints the undisturbed rows, or fewer where units are left, or refuses (3); reduce writes
  the undisturbed summary, or warns that prompts are left out, or refuses;
- run completes the file to the undisturbed digest and rows, or refuses (3), and then verify
  --restore mends the file so that run does, or refuses as well: that is allowed only where
  STEM.meta was damaged or removed, or so little of the file is left that nothing can tell whose
  STEM.meta it is.

Prints a table; exit status 1 when anything was not so. tests/reliability/README.md has the rest.
"""

import argparse
import collections
import json
import math
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import campaign
import h5py

PATIENCE_S = 30
REGIONS = ("payload", "journal", "attempts", "metadata", "anywhere", "copy", "summary")
DAMAGES = ("one bit", "eight bits", "zeros", "0xFF", "swapped", "cut", "appended")
ALLOWED = {campaign.DONE, campaign.INPUT, campaign.INTERRUPTED}


class Commands:
    """The program, by many_commands or as itself."""

    def __init__(self, server: Path, folder: Path):
        self.folder = folder
        self.server = subprocess.Popen(
            [server],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=campaign.environment(MECHSWEEP_READ_SECONDS="5"),
        )
        self.real = False

    def __call__(self, *arguments) -> tuple[str, str, str]:
        """(status as text, stdout, stderr)"""
        arguments = [str(one) for one in arguments]
        if self.real:
            return self.call_program(arguments)
        out, err = self.folder / "out.txt", self.folder / "err.txt"
        request = {"arguments": arguments, "out": str(out), "err": str(err)}
        self.server.stdin.write(json.dumps(request | {"patience_s": PATIENCE_S}) + "\n")
        self.server.stdin.flush()
        status = self.server.stdout.readline().strip()
        return status, out.read_text(errors="replace"), err.read_text(errors="replace")

    def call_program(self, arguments) -> tuple[str, str, str]:
        try:
            done = subprocess.run(
                campaign.command(arguments),
                capture_output=True,
                stdin=subprocess.DEVNULL,
                timeout=PATIENCE_S,
                env=campaign.environment(MECHSWEEP_READ_SECONDS="5"),
                check=False,
            )
        except subprocess.TimeoutExpired:
            return "hang", "", ""
        return str(done.returncode), *(
            t.decode(errors="replace") for t in (done.stdout, done.stderr)
        )

    def close(self):
        self.server.communicate(timeout=PATIENCE_S)


@dataclass
class Sweep:
    """A finished sweep and its summary, undamaged."""

    folder: Path
    config: Path
    digest: str = ""
    rows: set = field(default_factory=set)
    tables: str = ""
    regions: dict = field(default_factory=dict)

    @classmethod
    def make(cls, folder: Path, commands: Commands) -> "Sweep":
        folder.mkdir()
        config = campaign.write_sweep(folder / "sweep.yaml", prompts=12, places=2)
        plan = json.loads(config.read_text())
        for experiment in plan["experiments"]:
            experiment["statistics"] = {"bootstrap": {"resamples": 100}}
        config.write_text(json.dumps(plan))
        sweep = cls(folder, config)
        for step in (("run", config, "--out", sweep.results), ("reduce", sweep.results)):
            status, _, err = commands(*step)
            assert status == "0", (step, status, err)
        sweep.digest = digest_in(commands("verify", sweep.results)[1])
        sweep.rows = set(commands("export", sweep.results)[1].splitlines())
        sweep.tables = (folder / "r.summary.csv").read_text()
        sweep.regions = regions_of(sweep.results)
        assert sweep.digest and len(sweep.rows) > 100
        return sweep

    @property
    def results(self) -> Path:
        return self.folder / "r.h5"

    def copy_to(self, folder: Path) -> "Sweep":
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.folder, folder)
        return Sweep(folder, self.config, self.digest, self.rows, self.tables, self.regions)


def digest_in(out: str) -> str:
    return next((line.split()[1] for line in out.splitlines() if line.startswith("digest")), "")


def regions_of(results: Path) -> dict:
    """Byte ranges by region. Metadata are the pieces of STEM.meta that are not all zeros."""
    meta = results.with_suffix(".meta").read_bytes()
    count = struct.unpack_from("<Q", meta, 24)[0]
    pieces = [struct.unpack_from("<QQII", meta, 32 + 24 * i) for i in range(count)]
    content = results.read_bytes()
    regions = {"metadata": [], "payload": [], "journal": [], "attempts": []}
    for offset, length, _, stored in pieces:
        # Parts of a piece that say something: most of it is room for more.
        for at in range(offset, offset + length, 64):
            if stored and any(content[at : at + 64]):
                regions["metadata"].append((at, min(at + 64, offset + length)))
    with h5py.File(results, locking=False) as file:
        targets = {name.decode() for name in file["targets/dataset"][()]}
        for name in ("journal", "attempts", *targets):
            dataset = file[name]
            begin = dataset.id.get_offset()
            size = dataset.size * dataset.dtype.itemsize
            region = name if name in regions else "payload"
            regions[region].append((begin, begin + (4096 if name == "attempts" else size)))
    return regions


@dataclass
class Case:
    number: int
    region: str
    damage: str
    keeps_copy: bool
    random: random.Random

    @classmethod
    def make(cls, seed: int, number: int) -> "Case":
        dice = random.Random(f"{seed}/{number}")
        region = dice.choice(REGIONS)
        return cls(number, region, dice.choice(DAMAGES), dice.random() < 0.5, dice)

    def __str__(self):
        copy = "kept" if self.keeps_copy else "removed"
        return f"case {self.number} ({self.damage} in {self.region}, STEM.meta {copy})"

    def apply(self, sweep: Sweep):
        name = {"copy": "r.meta", "summary": "r.summary.h5"}.get(self.region, "r.h5")
        path = sweep.folder / name
        content = bytearray(path.read_bytes())
        before = bytes(content)
        while content == before:
            self.change(content, self.places(sweep, len(content)))
        path.write_bytes(content)
        if not self.keeps_copy and self.region != "copy":
            path.with_suffix(".meta").unlink()

    def places(self, sweep: Sweep, size: int) -> list:
        return sweep.regions.get(self.region, [(0, size)])

    def place(self, places: list, length: int) -> int:
        begin, end = self.random.choice(places)
        return self.random.randrange(begin, max(begin + 1, end - length + 1))

    def change(self, content: bytearray, places: list):
        dice = self.random
        length = min(2 ** dice.randrange(0, 13), len(content))
        at = self.place(places, length)
        if self.damage in ("one bit", "eight bits"):
            for _ in range(1 if self.damage == "one bit" else 8):
                content[self.place(places, 1)] ^= 1 << dice.randrange(8)
        elif self.damage in ("zeros", "0xFF"):
            end = min(at + length, len(content))
            content[at:end] = (b"\0" if self.damage == "zeros" else b"\xff") * (end - at)
        elif self.damage == "swapped":
            other = self.place(places, length)
            length = min(length, len(content) - max(at, other), abs(at - other))
            first, second = content[at : at + length], content[other : other + length]
            content[at : at + length], content[other : other + length] = second, first
        elif self.damage == "cut":
            del content[dice.randrange(len(content)) :]
        else:
            content += dice.randbytes(length)


class Judge:
    """Asks the commands about one damaged sweep; `faults` has what was not as it must be."""

    def __init__(self, commands: Commands, sweep: Sweep, case: Case):
        self.ask_program, self.sweep, self.case = commands, sweep, case
        self.faults: list[str] = []
        self.words: list[str] = []

    def ask(self, *arguments) -> tuple[str, str, str]:
        status, out, err = self.ask_program(*arguments)
        if not status.isdigit() or int(status) not in ALLOWED:
            self.fault(f"{arguments[0]} ended with {status}: {err.strip()[-300:]}")
        elif status == "3" and "mechsweep: " not in err and "damaged " not in out:
            self.fault(f"{arguments[0]} refuses without a word")
        return status, out, err

    def fault(self, sentence: str):
        self.faults.append(f"{self.case}: {sentence}")

    def judge(self) -> str:
        """One word for the table."""
        if self.case.region == "summary":
            return self.judge_summary()
        results = self.sweep.results
        status, out, _ = self.ask("verify", results)
        noticed = status != "0"
        if not noticed and digest_in(out) != self.sweep.digest:
            self.fault("verify prints another digest and no damage")
        self.ask("status", results)
        self.check_export(noticed)
        self.check_reduce(noticed)
        end = self.check_run()
        return f"noticed, {end}" if noticed else f"harmless, {end}"

    def check_export(self, noticed: bool):
        status, out, _ = self.ask("export", self.sweep.results)
        if status != "0":
            return
        rows = set(out.splitlines())
        if not rows <= self.sweep.rows:
            self.fault("export prints rows that are wrong")
        if not noticed and rows != self.sweep.rows:
            self.fault("export leaves rows out, and verify saw nothing")

    def check_reduce(self, noticed: bool):
        tables = self.sweep.folder / "r.summary.csv"
        status, _, err = self.ask("reduce", self.sweep.results)
        if status != "0" or tables.read_text() == self.sweep.tables:
            return
        if not noticed or ("left out" not in err and "no prompt" not in err):
            self.fault("reduce writes other numbers and says nothing")

    def check_run(self) -> str:
        run = ("run", self.sweep.config, "--out", self.sweep.results)
        status, _, err = self.ask(*run)
        if status == "0":
            self.check_whole()
            return "completed by run"
        if status != "3":
            self.fault(f"run ends with {status}: {err.strip()[-200:]}")
            return "?"
        status, _, _ = self.ask("verify", self.sweep.results, "--restore")
        if status == "3" and self.ask(*run)[0] == "3":
            if self.must_be_mended():
                self.fault(f"neither run nor --restore mends it: {err.strip()[-200:]}")
            return "refused"
        self.ask(*run)
        self.check_whole()
        return "restored"

    def must_be_mended(self) -> bool:
        """STEM.meta is there, and enough of the file to know that it is this file's."""
        of_results = self.case.region in ("metadata", "payload", "journal", "attempts")
        return of_results and self.case.keeps_copy and self.case.damage != "cut"

    def check_whole(self):
        status, out, _ = self.ask("verify", self.sweep.results)
        if digest_in(out) != self.sweep.digest and "digest" in out:
            self.fault("the digest after run is another one")
        status, out, _ = self.ask("export", self.sweep.results)
        if status != "0" or set(out.splitlines()) != self.sweep.rows:
            self.fault("the rows after run are other ones")

    def judge_summary(self) -> str:
        summary = self.sweep.folder / "r.summary.h5"
        clean = self.ask_program.clean_summary
        noticed = self.ask("verify", summary)[0] != "0"
        self.ask("status", summary)
        status, out, _ = self.ask("export", summary)
        if status == "0" and not set(out.splitlines()) <= clean:
            self.fault("export prints rows that are wrong")
        if status == "0" and not noticed and set(out.splitlines()) != clean:
            self.fault("export leaves rows out, and verify saw nothing")
        tables = self.sweep.folder / "r.summary.csv"
        status, _, _ = self.ask("reduce", self.sweep.results)
        if status == "0" and tables.read_text() != self.sweep.tables:
            self.fault("reduce writes other numbers")
        end = "completed by run" if status == "0" else "refused"
        return f"noticed, {end}" if noticed else f"harmless, {end}"


class Campaign:
    def __init__(self, options, server: Path, folder: Path):
        self.options, self.server, self.folder = options, server, folder
        self.lock = threading.Lock()
        self.next = options.first
        self.until = time.monotonic() + options.seconds
        self.table: collections.Counter = collections.Counter()
        self.faults: list[str] = []
        self.real_cases = 0

    def take(self) -> int | None:
        with self.lock:
            self.next += 1
            done = self.next > self.options.first + self.options.count
            done |= time.monotonic() > self.until
            return None if done else self.next - 1

    def work(self, worker: int):
        folder = self.folder / f"worker{worker}"
        folder.mkdir()
        commands = Commands(self.server, folder)
        clean = Sweep.make(folder / "clean", commands)
        commands.clean_summary = set(
            commands("export", clean.folder / "r.summary.h5")[1].splitlines()
        )
        while (number := self.take()) is not None:
            case = Case.make(self.options.seed, number)
            sweep = clean.copy_to(folder / "damaged")
            case.apply(sweep)
            commands.real = self.options.real > 0 and number % self.options.real == 0
            judge = Judge(commands, sweep, case)
            word = judge.judge()
            with self.lock:
                self.table[case.region, case.damage, word] += 1
                self.real_cases += commands.real
                self.faults += judge.faults
                for fault in judge.faults:
                    print(f"FAULT {fault}", flush=True)
            if judge.faults and self.options.keep:
                shutil.copytree(sweep.folder, Path(self.options.keep) / str(number))
        commands.close()

    def report(self) -> int:
        words = sorted({word for _, _, word in self.table})
        print(f"\n{'where':<10}{'cases':>7}" + "".join(f"{word:>28}" for word in words))
        for region in REGIONS:
            row = [
                sum(n for (r, _, w), n in self.table.items() if (r, w) == (region, word))
                for word in words
            ]
            print(f"{region:<10}{sum(row):>7}" + "".join(f"{number:>28}" for number in row))
        total = sum(self.table.values())
        print(
            f"{total} corruptions ({self.real_cases} by the program itself), seed "
            f"{self.options.seed}: {len(self.faults)} faults"
        )
        return 1 if self.faults else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=200, help="corruptions to try")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seconds", type=float, default=math.inf, help="end after that time")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--real", type=int, default=50, help="every so many-th by the program")
    parser.add_argument("--keep", help="a folder for the files of cases that went wrong")
    options = parser.parse_args()
    server = Path(campaign.program()).with_name("many_commands")
    if not server.is_file():
        raise SystemExit(f"{server} is missing: build the target many_commands")
    with tempfile.TemporaryDirectory(prefix="mechsweep-corruptions-") as folder:
        run = Campaign(options, server, Path(folder))
        with ThreadPoolExecutor(options.jobs) as pool:
            for done in [pool.submit(run.work, worker) for worker in range(options.jobs)]:
                done.result()
        return run.report()


if __name__ == "__main__":
    sys.exit(main())
