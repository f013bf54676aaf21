"""A disk that is rebuilt from a trace of calls, as a power cut after any of them may leave it."""

import random
from dataclasses import dataclass, field
from pathlib import Path

import fault_tools as tools
from fault_tools import Event

SECTOR = 512
SLOT = 64
SHARES = (0.0, 0.3, 0.7, 1.0)  # of the unsynced pieces that reach the disk
NAMES = ("none", "first few", "one alone", "all but one", "all")


@dataclass
class Change:
    """A write (data) or a new size of a file's content; `at` counts the trace's events."""

    at: int
    offset: int
    data: bytes | None


@dataclass
class Content:
    """What has happened to a file, whatever its name."""

    start: bytes = b""
    changes: list[Change] = field(default_factory=list)
    synced: list[tuple[int, int]] = field(default_factory=list)  # begin and end of each sync


@dataclass
class NameChange:
    at: int
    gives: dict  # name -> content
    takes: tuple  # names


class Disk:
    """All that a trace did, so that the disk can be asked for at any moment."""

    def __init__(self, start: dict, inodes: dict, events: list[Event], folder: Path):
        self.folder = str(folder)
        self.names_at_start = dict(start)
        self.contents: list[Content] = [Content(start=data) for data in start.values()]
        self.start_names = {name: place for place, name in enumerate(start)}
        self.now = dict(self.start_names)
        self.by_inode = {inodes[name]: place for name, place in self.start_names.items()}
        self.name_changes: list[NameChange] = []
        self.folder_syncs: list[tuple[int, int]] = []
        self.begun: dict = {}
        for at, event in enumerate(events):
            if event.result >= 0 or event.is_begin:
                getattr(self, f"_{event.kind}")(at, event)

    def _name(self, path: str) -> str:
        return Path(path).name

    def _content(self, event: Event) -> Content | None:
        place = self.by_inode.get(event.inode)
        return None if place is None else self.contents[place]

    def _open(self, at: int, event: Event):
        flags = event.offset & ~tools.EXISTED
        if event.path == self.folder:
            return
        if not event.offset & tools.EXISTED:
            self.by_inode[event.inode] = len(self.contents)
            self.contents.append(Content())
            name = self._name(event.path)
            self.now[name] = len(self.contents) - 1
            self.name_changes.append(NameChange(at, {name: self.now[name]}, ()))
        elif flags & 0o1000:  # O_TRUNC
            self._content(event).changes.append(Change(at, 0, None))

    def _write(self, at: int, event: Event):
        content = self._content(event)
        if content is not None:
            content.changes.append(Change(at, event.offset, event.data))

    def _truncate(self, at: int, event: Event):
        self._content(event).changes.append(Change(at, event.offset, None))

    def _sync(self, at: int, event: Event):
        key = (event.pid, event.path, event.inode)
        if event.is_begin:
            self.begun[key] = at
        elif event.path == self.folder:
            self.folder_syncs.append((self.begun[key], at))
        else:
            self._content(event).synced.append((self.begun[key], at))

    def _rename(self, at: int, event: Event):
        old, new = self._name(event.path), self._name(event.other)
        self.now[new] = self.now.pop(old)
        self.name_changes.append(NameChange(at, {new: self.now[new]}, (old,)))

    def _unlink(self, at: int, event: Event):
        name = self._name(event.path)
        self.now.pop(name, None)
        self.name_changes.append(NameChange(at, {}, (name,)))

    def _close(self, at: int, event: Event):
        pass

    @staticmethod
    def _covered(syncs: list[tuple[int, int]], cut: int) -> int:
        """Everything before this event is on the disk."""
        return max((begin for begin, end in syncs if end <= cut), default=-1)

    def names(self, cut: int, rng: random.Random) -> dict:
        """name -> content, as a cut after event `cut` may leave it."""
        safe = self._covered(self.folder_syncs, cut)
        done = [c for c in self.name_changes if c.at <= safe]
        loose = [c for c in self.name_changes if safe < c.at <= cut]
        mode = rng.choice(NAMES) if loose else "all"
        one = rng.randrange(len(loose)) if loose else 0
        kept = {
            "none": [],
            "first few": loose[: one + 1],
            "one alone": loose[one : one + 1],
            "all but one": loose[:one] + loose[one + 1 :],
            "all": loose,
        }[mode]
        names = dict(self.start_names)
        for change in done + kept:
            for name in change.takes:
                names.pop(name, None)
            names.update(change.gives)
        return names

    def bytes_of(self, place: int, cut: int, rng: random.Random) -> bytes:
        content = self.contents[place]
        safe = self._covered(content.synced, cut)
        image = bytearray(content.start)
        for change in content.changes:
            if change.at <= safe:
                apply(image, change.offset, change.data)
        loose = [c for c in content.changes if safe < c.at <= cut]
        share = rng.choice(SHARES)
        pieces = [piece for c in loose for piece in sectors(c) if rng.random() < share]
        if rng.random() < 0.3:
            rng.shuffle(pieces)
        for offset, data in pieces:
            apply(image, offset, data)
        return bytes(image)

    def covered_journal(self, cut: int, place: int, base: int, units: int) -> dict:
        """Slots by unit of what must be there: journalled, and synced afterwards."""
        content = self.contents[place]
        safe = self._covered(content.synced, cut)
        slots = {}
        journal = range(base, base + units * SLOT)
        for unit in range(units) if content.start else ():
            slots[unit] = content.start[base + unit * SLOT : base + (unit + 1) * SLOT]
        for change in content.changes:
            is_slot = change.data and len(change.data) == SLOT and change.offset in journal
            if change.at <= safe and is_slot:
                slots[(change.offset - base) // SLOT] = change.data
        later = {
            (c.offset - base) // SLOT
            for c in content.changes
            if safe < c.at <= cut and c.data is not None and c.offset in journal
        }
        return {
            unit: slot for unit, slot in slots.items() if slot[:1] == b"\1" and unit not in later
        }


def sectors(change: Change):
    if change.data is None:
        return [(change.offset, None)]
    pieces, at = [], 0
    while at < len(change.data):
        length = min(SECTOR - (change.offset + at) % SECTOR, len(change.data) - at)
        pieces.append((change.offset + at, change.data[at : at + length]))
        at += length
    return pieces


def apply(image: bytearray, offset: int, data: bytes | None):
    if data is None:  # a new size
        del image[offset:]
        image.extend(bytes(offset - len(image)))
        return
    if len(image) < offset + len(data):
        image.extend(bytes(offset + len(data) - len(image)))
    image[offset : offset + len(data)] = data
