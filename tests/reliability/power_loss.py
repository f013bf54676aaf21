#!/usr/bin/env python3
"""Builds what a power cut could leave on a disk, from a trace of all calls, and lets the program
look at it.

A disk keeps what was synced: writes to a file that had returned when an fsync or fdatasync of it
began that returned, too, and names whose folder was synced. Of the rest it keeps anything: here a
seeded subset of the unsynced writes, torn at sectors of 512 bytes, in their order or another; and
of the unsynced creations, renames and removals either the first few, one alone, or all but one.
Cuts fall after every recorded call of `run` (alone, on two ranks, and resuming), `reduce` (also
where it replaces an older summary), `merge` and `verify --restore`. For every image:

- `verify` reads the file, if there is one: its metadata are whole, and nothing is done whose
  payload is not the right one (a unit of which only the journal entry survived is named);
- every unit that was journalled before a sync that covers it has its slot and is not damaged;
- CSV and JSON tables are whole, or not there, or the older ones;
- on a part of the images: the same command finishes with the digest of an undisturbed run, leaves
  those units alone, and leaves nothing else behind.

Equal images are looked at once. Exit status 1 if anything was otherwise.
"""

import hashlib
import random
import re
import sys
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import fault_tools as tools
import h5py
import system_program as program
from fault_tools import Campaign, Fault, Workload
from simulated_disk import SLOT, Disk, apply


@dataclass
class Scenario:
    """A workload with its trace and what its results file looks like in the end."""

    workload: Workload
    disk: Disk
    events: int
    journal_base: int
    units: int
    tables: dict  # name -> contents that are allowed: whole ones, old or new

    @property
    def name(self):
        return self.workload.name


def record(workload: Workload, base: Path) -> Scenario:
    """Runs the workload undisturbed and traces it; the folder's name stays in no file of it."""
    folder, trace = base / "recorded", base / "trace"
    workload.prepare(folder)
    trace.unlink(missing_ok=True)
    files = sorted(path for path in folder.iterdir() if path.is_file())
    start = {path.name: path.read_bytes() for path in files}
    inodes = {path.name: path.stat().st_ino for path in files}
    outcome = tools.disturbed(workload.command(folder), workload.ranks, Fault(), folder, trace)
    assert outcome.status == program.DONE, outcome.err
    events = tools.read_trace(trace)
    disk = Disk(start, inodes, events, folder)
    check_model(disk, folder, len(events))
    with h5py.File(folder / workload.results) as file:
        place, units = file["journal"].id.get_offset(), file["journal"].shape[0]
    tables = defaultdict(list)
    for name, text in workload.texts.items():
        tables[name] += [text, start[name]] if name in start else [text]
    return Scenario(workload, disk, len(events), place, units, tables)


def check_model(disk: Disk, folder: Path, events: int):
    """With nothing lost the image is what the program really left."""
    for path in folder.iterdir():
        content = disk.contents[disk.now[path.name]]
        image = bytearray(content.start)
        for change in content.changes:
            apply(image, change.offset, change.data)
        assert bytes(image) == path.read_bytes(), f"{path} is not what its trace says"
    assert set(disk.now) == {path.name for path in folder.iterdir()}


@dataclass(frozen=True)
class Case:
    scenario: Scenario
    cut: int
    seed: int
    resumes: bool

    def __str__(self):
        where = f"cut after call {self.cut} of {self.scenario.events}"
        return f"{self.scenario.name}: {where}, seed {self.seed}"

    def __hash__(self):
        return hash((self.scenario.name, self.cut, self.seed))


@dataclass
class Image:
    files: dict  # name -> bytes
    must_have: dict  # unit -> its slot


def image_of(case: Case) -> Image:
    """The folder after the cut. An older file under the name of the results owes nothing."""
    scenario, disk = case.scenario, case.scenario.disk
    rng = random.Random(f"{scenario.name} {case.cut} {case.seed}")
    names = disk.names(case.cut, rng)
    files = {name: disk.bytes_of(place, case.cut, rng) for name, place in sorted(names.items())}
    results = scenario.workload.results
    place = names.get(results)
    if place is None or place != disk.now[results]:
        return Image(files, {})
    return Image(
        files, disk.covered_journal(case.cut, place, scenario.journal_base, scenario.units)
    )


def check_image(case: Case, image: Image, folder: Path) -> list[str]:
    """By verify and by the bytes themselves."""
    scenario = case.scenario
    wrong = [
        f"{name} is neither whole nor absent"
        for name, allowed in scenario.tables.items()
        if name in image.files and image.files[name] not in allowed
    ]
    results = scenario.workload.results
    if results not in image.files:
        return wrong
    outcome = program.run("verify", folder / results)
    damaged = re.findall(r"^damaged +(.*)$", outcome.out, re.MULTILINE)
    if scenario.workload.is_damaged:  # what it is to mend may be there still
        damaged = [line for line in damaged if re.search(r"\bunit \d+ ", line)]
    of_units = [re.match(r"(?:the journal entry of )?unit (\d+) ", line) for line in damaged]
    if outcome.status not in (program.DONE, program.INTERRUPTED, program.INPUT):
        wrong.append(f"verify: {outcome.status}: {outcome.err}")
    is_torn = scenario.workload.is_damaged and outcome.status == program.INPUT and not damaged
    if not is_torn and ((outcome.status == program.INPUT) != bool(damaged) or not all(of_units)):
        wrong.append(f"verify: {outcome.status}: {damaged} {outcome.err}")
    lost = {int(match[1]) for match in of_units if match} & set(image.must_have)
    for unit, slot in image.must_have.items():
        at = scenario.journal_base + unit * SLOT
        if image.files[results][at : at + SLOT] != slot:
            lost.add(unit)
    if lost:
        wrong.append(f"units {sorted(lost)} were synced and are lost")
    return wrong


def check_resume(case: Case, image: Image, folder: Path) -> list[str]:
    workload = case.scenario.workload
    results = folder / workload.results
    again = program.run(*workload.command(folder), ranks=workload.ranks)
    if again.status != program.DONE:
        return [f"started again: {again.status}: {again.err[-500:]}"]
    wrong = []
    status, digest = tools.digest_of(results)
    if (status, digest) != (program.DONE, workload.expected):
        wrong.append(f"started again: verify says {status}, the digest is '{digest[:12]}'")
    slots = program.journal(results)
    changed = [u for u, slot in image.must_have.items() if bytes(slots[u]) != slot]
    if changed:
        wrong.append(f"units {changed} were synced and have been computed again")
    for name, text in workload.texts.items():
        if (folder / name).read_bytes() != text:
            wrong.append(f"started again: {name} is another one")
    left = {path.name for path in folder.iterdir()}
    if left != workload.files:
        wrong.append(f"left: {sorted(left ^ workload.files)}")
    return wrong


def check(case: Case, image: Image, folder: Path) -> list[str]:
    folder.mkdir()
    for name, data in image.files.items():
        (folder / name).write_bytes(data)
    wrong = check_image(case, image, folder)
    if case.resumes:
        wrong += check_resume(case, image, folder)
    tools.shutil.rmtree(folder)
    return wrong


def half_done(workload: Workload, base: Path) -> Workload:
    """The same, resuming a file that was killed between two units."""
    folder, trace = base / "half", base / "trace"
    tools.count_calls(workload, base / "counted", trace)
    writes = [e for e in tools.read_trace(trace) if e.kind == "write" and e.rank == 0]
    slots = [n for n, e in enumerate(writes, 1) if len(e.data) == SLOT and e.data[:1] == b"\1"]
    nth = slots[len(slots) // 2]
    workload.prepare(folder)
    kill = Fault("write", nth, "kill_after", rank=0 if workload.ranks else None)
    tools.disturbed(workload.command(folder), workload.ranks, kill, folder)
    slots = program.journal(folder / workload.results)[:, 0]
    assert 0 < (slots == program.JOURNAL_DONE).sum() < len(slots), "was not killed half-way"
    return replace(workload, name=f"{workload.name}, resumed", start=folder)


def newer_summary(workload: Workload, base: Path) -> Workload:
    """`reduce` where a summary of fewer units, with its tables, is there already."""
    folder = base / "older"
    workload.prepare(folder)
    results = folder / "r.h5"
    with h5py.File(results) as file:
        place = file["journal"].id.get_offset()
    whole = results.read_bytes()
    results.write_bytes(whole[:place] + bytes(SLOT) + whole[place + SLOT :])
    program.must("reduce", results)
    results.write_bytes(whole)
    return replace(workload, name="reduce again", start=folder)


def scenarios_of(base: Path, only: str) -> list[Scenario]:
    config = tools.write_sweep(base / "several.yaml", runs=6, prompts=60, sync_interval_s=0.1)
    command = ("run", config, "--out", "@/r.h5")
    run, on_ranks, _ = tools.run_workloads(base)
    run, on_ranks = (
        tools.undisturbed(replace(w, arguments=command), base / "undisturbed")
        for w in (run, on_ranks)
    )
    reduce, merge, restore = tools.file_workloads(base)
    made = [run, on_ranks, half_done(run, base), reduce, newer_summary(reduce, base)]
    made += [merge, restore]
    return [record(workload, base) for workload in made if re.search(only, workload.name)]


def make_cases(scenarios: list[Scenario], images_per_cut: int) -> list[Case]:
    return [
        Case(scenario, cut, seed, False)
        for scenario in scenarios
        for cut in range(scenario.events)
        for seed in range(images_per_cut)
    ]


def campaign(base: Path, options) -> Campaign:
    scenarios = scenarios_of(base, options.only)
    cases = make_cases(scenarios, options.images_per_cut)
    cases = tools.sample(cases, options.count, options.seed)
    cases = [replace(c, resumes=n % options.resume_every == 0) for n, c in enumerate(cases)]
    seen: set = set()
    result = Campaign(options.jobs)

    def one(case: Case, number: int) -> list[str]:
        image = image_of(case)
        content = repr((case.scenario.name, case.resumes, sorted(image.files.items())))
        known = hashlib.sha256(content.encode()).digest()
        if known in seen:
            return []
        seen.add(known)
        return check(case, image, base / f"case{number}")

    result.run(cases, one, lambda case: case.scenario.name)
    resumed = sum(case.resumes for case in cases)
    print(f"{len(seen)} different images; every {options.resume_every}th resumed ({resumed})")
    return result


def main() -> int:
    parser = tools.parser(__doc__, 0)
    parser.add_argument("--only", default="", help="a pattern: scenarios whose name matches")
    parser.add_argument("--images-per-cut", type=int, default=2, help="seeds per recorded call")
    parser.add_argument("--resume-every", type=int, default=5, help="images that are also resumed")
    options = parser.parse_args()
    with tools.Scratch(options.work) as base:
        return campaign(base, options).report()


if __name__ == "__main__":
    sys.exit(main())
