"""What the results file, where it is still there, adds: who ran the sweep, where and when."""

from dataclasses import dataclass
from pathlib import Path

import h5py

from mechsweep_analysis.hdf5_text import parse_json, text
from mechsweep_analysis.summary import RESULTS_FORMAT, SUMMARY_ENDING, Summary


@dataclass(frozen=True)
class Provenance:
    """Facts of every launch, oldest slot first, and why there are none."""

    path: Path | None
    attempts: tuple[dict, ...]
    note: str  # one sentence, empty when everything was there


def read_provenance(given: Path, summary: Summary) -> Provenance:
    """Never fails: a report without these facts is still a report."""
    path = _results_path(given, summary)
    if not path.is_file():
        return Provenance(None, (), f"The results file {path.name} is not beside its summary.")
    try:
        with h5py.File(path, "r", locking=False) as file:
            if text(file.attrs.get("format", "")) != RESULTS_FORMAT:
                return Provenance(None, (), f"{path.name} is not a mechsweep results file.")
            if text(file.attrs.get("key", "")) != summary.attributes.get("source_key", ""):
                note = f"{path.name} is of another sweep than the summary: their keys differ."
                return Provenance(None, (), note)
            return Provenance(path, _read_attempts(file), "")
    except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        return Provenance(None, (), f"{path.name} cannot be read ({reason}).")


def _results_path(given: Path, summary: Summary) -> Path:
    if given != summary.path:
        return given
    # Only the name: the file may have been moved together with its summary.
    name = Path(summary.attributes.get("source", "")).name
    if not name:
        name = summary.path.name.removesuffix(SUMMARY_ENDING) + ".h5"
    return summary.path.with_name(name)


def _read_attempts(file: h5py.File) -> tuple[dict, ...]:
    attempts = []
    for record in file["attempts"][()] if "attempts" in file else ():
        # A slot is JSON padded with zeros; an unused one is zeros or fill bytes.
        facts = parse_json(bytes(record).split(b"\0")[0].decode("utf-8", errors="replace"))
        if isinstance(facts, dict) and facts:
            attempts.append(facts)
    return tuple(attempts)
