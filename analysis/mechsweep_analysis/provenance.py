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

    def bit_exactness(self) -> str:
        """What the self-tests of all launches say: "yes", or "NO" and by how much.

        Empty where no launch has a self-test on record, as in `mechsweep status`.
        """
        tests = [test for test in map(_self_test, self.attempts) if test]
        flaws = [
            _flaw(dtype, verdict)
            for test in tests
            for dtype, verdict in test.items()
            if not verdict["bit_exact"]
        ]
        if flaws:
            return f"NO: {max(flaws)[-1]}"
        if not tests:
            return ""
        if len(tests) == len(self.attempts):
            return "yes"
        return (
            f"yes in {len(tests)} of {len(self.attempts)} launches; the others have no self-test "
            "on record"
        )

    def certificates(self) -> dict[str, str]:
        """What the certificates of all launches say, by model: "passed, no reference", "passed,
        reference FILE (MAKERS)", or "FAILED: " and why.

        Models without one on record are left out, as in `mechsweep status`.
        """
        said: dict[str, str] = {}
        for model, certificate in (
            pair for attempt in self.attempts for pair in _certificates(attempt).items()
        ):
            if said.get(model, "").startswith("FAILED"):
                continue
            if certificate["outcome"] == "failed":
                said[model] = f"FAILED: {certificate.get('why', 'no reason is on record')}"
            else:
                reference = certificate.get("reference", "none")
                note = certificate.get("reference_note", "")
                none = f"no reference ({note})" if note else "no reference"
                named = none if reference == "none" else f"reference {reference}"
                said[model] = f"passed, {named}"
        return dict(sorted(said.items()))


def _certificates(attempt: dict) -> dict[str, dict]:
    """By model. Records have no checksum: what no run writes is left out."""
    certificates = attempt.get("certificates")
    if not isinstance(certificates, dict):
        return {}
    return {
        model: certificate
        for model, certificate in certificates.items()
        if isinstance(certificate, dict) and certificate.get("outcome") in ("passed", "failed")
    }


def _self_test(attempt: dict) -> dict[str, dict]:
    """Verdicts by dtype. Records have no checksum: what no run writes is left out."""
    verdicts = attempt.get("selftest")
    if not isinstance(verdicts, dict):
        return {}
    return {
        dtype: verdict
        for dtype, verdict in verdicts.items()
        if isinstance(verdict, dict) and isinstance(verdict.get("bit_exact"), bool)
    }


def _flaw(dtype: str, verdict: dict) -> tuple[bool, float, str]:
    """The worst sorts last: having compared nothing is worse than any difference."""
    where = f"{dtype}, rank {verdict['rank']}" if "rank" in verdict else dtype
    if "failure" in verdict:
        return True, 0.0, f"the self-test failed ({where}): {verdict['failure']}"
    nats = verdict.get("tolerance_nats")
    nats = nats if isinstance(nats, float) else 0.0
    return False, nats, f"losses differ by up to {nats:.3g} nats ({where})"


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
