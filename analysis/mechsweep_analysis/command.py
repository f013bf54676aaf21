"""The command line: python -m mechsweep_analysis FILE... --out DIR."""

import argparse
import sys
from pathlib import Path

from mechsweep_analysis import __version__
from mechsweep_analysis.comparison import comparison_json, comparison_page, folder_names
from mechsweep_analysis.errors import OutputError, ReportError
from mechsweep_analysis.page import page
from mechsweep_analysis.provenance import read_provenance
from mechsweep_analysis.render import FigureFile, Options, RunResult, render_runs, top_five_lines
from mechsweep_analysis.report_json import report_json
from mechsweep_analysis.studies import make_joint, make_products
from mechsweep_analysis.studies.product import Product, Source
from mechsweep_analysis.summary import INTERVALS, Summary, find_summary, load_summary
from mechsweep_analysis.top_table import as_csv

EPILOG = """exit status: 0 done, 2 usage, 3 FILE is missing or not a summary that this version
reads, 4 DIR cannot be written"""


def main(arguments: list[str]) -> int:
    """Runs the command and returns its exit status; usage errors and --help end in SystemExit."""
    chosen = make_parser().parse_args(arguments)
    options = Options(interval=chosen.interval, top=chosen.top, pdf=chosen.pdf)
    try:
        # All are read before anything is written.
        summaries = [load_summary(find_summary(file)) for file in chosen.files]
        if len(summaries) == 1:
            write_report(chosen.files[0], summaries[0], chosen.out, options)
        else:
            write_comparison(chosen.files, summaries, chosen.out, options)
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
        "files",
        metavar="FILE",
        type=Path,
        nargs="+",
        help="results file or its summary (STEM.summary.h5); several are compared",
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
    parser.add_argument("--pdf", action="store_true", help="write every figure as PDF, too")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    return parser


def write_report(given: Path, summary: Summary, out: Path, options: Options) -> Source:
    """Draws everything and writes it below `out`, naming each file; index.html comes last."""
    _make_folders(out)
    results = []
    for result in render_runs(summary, options):
        _write_run(out, result)
        results.append(result)
    provenance = read_provenance(given, summary)
    source = Source(summary, provenance.path, provenance.note, options)
    products = make_products(source)
    for product in products:
        _write_product(out, product)
    _write(out / "report.json", report_json(summary, results, products))
    _write(out / "index.html", page(summary, results, provenance, products))
    return source


def write_comparison(
    given: list[Path], summaries: list[Summary], out: Path, options: Options
) -> None:
    """A report of every file in a folder of its own, and what they show together in `out`."""
    _make_folders(out)
    folders = folder_names(summaries)
    sources = [
        write_report(path, summary, out / folder, options)
        for path, summary, folder in zip(given, summaries, folders, strict=True)
    ]
    products = make_joint(sources)
    for product in products:
        _write_product(out, product)
    _write(out / "comparison.json", comparison_json(sources, folders, products))
    _write(out / "index.html", comparison_page(sources, folders, products))


def _make_folders(out: Path) -> None:
    for folder in (out, out / "figures", out / "tables"):
        _make_folder(folder)


def _write_run(out: Path, result: RunResult) -> None:
    for metric in result.metrics:
        for figure in metric.figures:
            _write_figure(out, figure)
        for table in metric.tables:
            _write(out / "tables" / f"{table.name}.csv", as_csv(table.rows))
    if result.run.kind == "attention_scores":
        for line in top_five_lines(result):
            print(line)


def _write_product(out: Path, product: Product) -> None:
    for figure in product.figures:
        _write_figure(out, figure)
    for name, content in product.documents.items():
        _write(out / "tables" / name, content)


def _write_figure(out: Path, figure: FigureFile) -> None:
    for ending, data in (("png", figure.png), ("svg", figure.svg), ("pdf", figure.pdf)):
        if data is not None:
            _write(out / "figures" / f"{figure.name}.{ending}", data)


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
