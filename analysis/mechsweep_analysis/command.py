"""The command line: python -m mechsweep_analysis FILE --out DIR."""

import argparse
import sys
from pathlib import Path

from mechsweep_analysis import __version__
from mechsweep_analysis.errors import OutputError, ReportError
from mechsweep_analysis.page import page
from mechsweep_analysis.provenance import read_provenance
from mechsweep_analysis.render import Options, RunResult, render_runs
from mechsweep_analysis.report_json import report_json
from mechsweep_analysis.summary import INTERVALS, Summary, find_summary, load_summary
from mechsweep_analysis.top_table import as_csv

EPILOG = """exit status: 0 done, 2 usage, 3 FILE is missing or not a summary that this version
reads, 4 DIR cannot be written"""


def main(arguments: list[str]) -> int:
    """Runs the command and returns its exit status; usage errors and --help end in SystemExit."""
    chosen = make_parser().parse_args(arguments)
    options = Options(interval=chosen.interval, top=chosen.top)
    try:
        summary = load_summary(find_summary(chosen.file))
        write_report(chosen.file, summary, chosen.out, options)
    except ReportError as error:
        print(f"mechsweep_analysis: {error}", file=sys.stderr)
        return error.status
    return 0


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mechsweep_analysis",
        description="Draws figures and writes a report from what `mechsweep reduce` made.",
        epilog=EPILOG,
    )
    parser.add_argument(
        "file", metavar="FILE", type=Path, help="results file or its summary (STEM.summary.h5)"
    )
    parser.add_argument(
        "--out", metavar="DIR", type=Path, required=True, help="folder to write to; made if missing"
    )
    parser.add_argument(
        "--interval", choices=INTERVALS, help="intervals shown (those that the config asks for)"
    )
    parser.add_argument(
        "--top",
        metavar="N",
        type=_positive,
        default=Options.top,
        help="heads in bars and tables (%(default)s)",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    return parser


def write_report(given: Path, summary: Summary, out: Path, options: Options) -> None:
    """Draws everything and writes it below `out`, naming each file; index.html comes last."""
    for folder in (out, out / "figures", out / "tables"):
        _make_folder(folder)
    results = []
    for result in render_runs(summary, options):
        _write_run(out, result)
        results.append(result)
    _write(out / "report.json", report_json(summary, results))
    provenance = read_provenance(given, summary)
    _write(out / "index.html", page(summary, results, provenance))


def _write_run(out: Path, result: RunResult) -> None:
    for metric in result.metrics:
        for figure in metric.figures:
            _write(out / "figures" / f"{figure.name}.png", figure.png)
            _write(out / "figures" / f"{figure.name}.svg", figure.svg)
        for table in metric.tables:
            _write(out / "tables" / f"{table.name}.csv", as_csv(table.rows))


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder} cannot be made ({error.strerror}); choose another --out."
        ) from error


def _write(path: Path, content: bytes | str) -> None:
    data = content.encode("utf-8", errors="replace") if isinstance(content, str) else content
    try:
        path.write_bytes(data)
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written ({error.strerror}); free it or choose another --out."
        ) from error
    print(f"wrote {path}")


def _positive(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number above 0")
    return number
