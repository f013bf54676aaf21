"""What the campaigns share: a small sweep, the program as processes of its own, and a look at what
it leaves behind that shares no code with it (h5py and a table-driven CRC-32C)."""

import contextlib
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
MODEL = ROOT / "tests" / "golden" / "checkpoints" / "llama-random"
DONE, UNITS_FAILED, USAGE, INPUT, RESOURCE, INTERRUPTED = 0, 1, 2, 3, 4, 5
STATE_DONE = 1  # first byte of a journal slot, docs/results-file.md


def program() -> str:
    """The program under test: the environment variable MECHSWEEP, or build/mechsweep."""
    path = Path(os.environ.get("MECHSWEEP", ROOT / "build" / "mechsweep")).resolve()
    if not path.is_file():
        raise SystemExit(f"{path} is missing: build it, or name another one in MECHSWEEP")
    return str(path)


def environment(**extra) -> dict:
    """The caller's environment without what a launcher may have left in it."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OMPI_", "SLURM_", "PMIX"))}
    if os.geteuid() == 0:
        kept |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    return kept | extra


def command(arguments, ranks: int = 1) -> list[str]:
    """One rank runs alone, without MPI."""
    launcher = [] if ranks == 1 else ["mpirun", "--oversubscribe", "-n", str(ranks)]
    return [*launcher, program(), *map(str, arguments)]


def run(*arguments, ranks: int = 1, patience_s: float = 120.0) -> subprocess.CompletedProcess:
    return subprocess.run(
        command(arguments, ranks),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=patience_s,
        env=environment(),
        check=False,
    )


def write_sweep(path: Path, prompts: int = 40, places: int = 24) -> Path:
    """A config of `places` small runs on a random model: some seconds of work in many units."""
    config = {
        "name": "campaign",
        "seed": 5,
        "models": [{"id": "m", "path": str(MODEL)}],
        "prompts": [
            {
                "id": "p",
                "kind": "repeated_random",
                "count": prompts,
                "period": 20,
                "repeats": 3,
                "prefix": 0,
            }
        ],
        "experiments": [
            {"id": f"h{i}", "kind": "head_ablation", "operation": "zero", "positions": [i]}
            for i in range(places)
        ],
        "execution": {"threads_per_rank": 1, "sync_interval_s": 0.5},
    }
    path.write_text(json.dumps(config, indent=1))
    return path


def digest(results: Path) -> str | None:
    """Of a complete file that verifies; else nothing."""
    verified = run("verify", results)
    found = re.search(r"^digest +([0-9a-f]{64})$", verified.stdout, re.MULTILINE)
    return found[1] if found and verified.returncode == DONE else None


def journal(results: Path) -> np.ndarray:
    """A copy of /journal, uint8 [unit, 64], read without the program."""
    with h5py.File(results, "r", locking=False) as file:
        return file["journal"][()]


def done_units(slots: np.ndarray) -> np.ndarray:
    """Which slots are whole and say done; the CRC is computed here."""
    done = slots[:, 0] == STATE_DONE
    stored = np.ascontiguousarray(slots[:, 60:]).view("<u4")[:, 0]
    done[done] = crc32c(slots[done, :60]) == stored[done]
    return done


def crc32c(rows: np.ndarray) -> np.ndarray:
    """CRC-32C (Castagnoli, reflected polynomial 0x82F63B78) of every row of bytes."""
    crc = np.full(len(rows), 0xFFFFFFFF, np.uint32)
    for column in rows.T:
        crc = _CRC_TABLE[(crc ^ column) & 0xFF] ^ (crc >> np.uint32(8))
    return ~crc


def _crc_table() -> np.ndarray:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, np.uint32(0x82F63B78) ^ (table >> np.uint32(1)), table >> 1)
    return table.astype(np.uint32)


_CRC_TABLE = _crc_table()


@dataclass
class Launch:
    """The program at work in a session of its own, its messages in a file."""

    process: subprocess.Popen
    log: Path
    ranks: int

    @classmethod
    def start(cls, arguments, ranks: int, log: Path) -> "Launch":
        with log.open("wb") as sink:
            process = subprocess.Popen(
                command(arguments, ranks),
                stdout=sink,
                stderr=sink,
                stdin=subprocess.DEVNULL,
                env=environment(),
                start_new_session=True,
            )
        return cls(process, log, ranks)

    def members(self) -> list[int]:
        """Every living process of the session."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            fields = _stat(entry)
            if fields and int(fields[3]) == self.process.pid and fields[0] not in "ZX":
                found.append(int(entry.name))
        return found

    def rank_processes(self) -> list[int]:
        """In rank order, as far as they have been started."""
        if self.ranks == 1:
            return [self.process.pid]
        children = []
        for pid in self.members():
            fields = _stat(Path(f"/proc/{pid}"))
            if fields and int(fields[1]) == self.process.pid and _is_program(pid):
                children.append(pid)
        return sorted(children)

    def kill_all(self):
        for pid in self.members():
            kill(pid)

    def end(self, patience_s: float = 60.0) -> int:
        """Waits for the whole session to be gone. Ranks whose mpirun was killed end by themselves;
        whoever stays longer than that is a fault."""
        status = self.process.wait(timeout=patience_s)
        until = time.monotonic() + patience_s
        while self.members():
            if time.monotonic() > until:
                raise AssertionError(f"processes of a dead launch live on: {self.members()}")
            time.sleep(0.01)
        return status


def kill(pid: int):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _stat(entry: Path) -> list[str] | None:
    """Fields of /proc/PID/stat after the name: state, parent, group, session, ..."""
    try:
        return (entry / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def _is_program(pid: int) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/exe") == program()
    except OSError:
        return False
