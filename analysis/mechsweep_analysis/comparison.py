"""What several files show together: a page that leads to each file's report, and its numbers."""

import urllib.parse

from mechsweep_analysis.html_parts import document, escape, make_product
from mechsweep_analysis.json_text import as_json
from mechsweep_analysis.render import file_name
from mechsweep_analysis.report_json import product_numbers
from mechsweep_analysis.studies.product import Product, Source
from mechsweep_analysis.style import percent, show
from mechsweep_analysis.summary import SUMMARY_ENDING, Summary

FORMAT = "mechsweep-comparison"
FORMAT_VERSION = 1
COLUMNS = ("run", "prompts", "base loss (nats)", "chance", "base accuracy", "chance")


def folder_names(summaries: list[Summary]) -> list[str]:
    """A folder for each file's report: its name without endings, numbered where that is taken."""
    names: list[str] = []
    for summary in summaries:
        stem = file_name(summary.path.name.removesuffix(SUMMARY_ENDING))
        name, number = stem, 1
        while name in names or name in ("figures", "tables"):
            number += 1
            name = f"{stem}-{number}"
        names.append(name)
    return names


def comparison_page(sources: list[Source], folders: list[str], products: list[Product]) -> str:
    """Base performance of all runs by model, links to the reports, then the joint figures."""
    parts = [
        "<section><h2>Models and runs</h2>",
        "<p>Every model leads to its own report. Scores and effects of a model that fails the "
        "task say nothing about how the task is done.</p>",
        *(_file(source, folder) for source, folder in zip(sources, folders, strict=True)),
        "</section>",
    ]
    if products:
        inside = "\n".join(make_product(product) for product in products)
        parts.append(f"<section><h2>Together</h2>\n{inside}\n</section>")
    else:
        parts.append("<p>The files have no attention score under the same names in common.</p>")
    return document(f"mechsweep comparison of {len(sources)} files", *parts)


def _file(source: Source, folder: str) -> str:
    summary = source.summary
    models = ", ".join(sorted({run.model for run in summary.runs}))
    address = escape(f"{urllib.parse.quote(folder)}/index.html")
    head = "".join(f'<th scope="col">{name}</th>' for name in COLUMNS)
    rows = "\n".join(
        f'<tr><td><a href="{address}#run-{number}">{escape(run.run_id)}</a></td>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in _performance(run.numbers))
        + "</tr>"
        for number, run in enumerate(summary.runs, start=1)
    )
    return (
        f'<details open><summary>{escape(models)}: <a href="{address}">{escape(folder)}</a>'
        '</summary><div class="wide runs" tabindex="0"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>\n{rows}\n</tbody></table></div></details>"
    )


def _performance(numbers: dict[str, float]) -> tuple[str, ...]:
    return (
        show(numbers["n_prompts"], 0),
        show(numbers["base_loss"]),
        show(numbers["chance_loss"]),
        percent(numbers["base_accuracy"]),
        percent(numbers["chance_accuracy"]),
    )


def comparison_json(sources: list[Source], folders: list[str], products: list[Product]) -> str:
    """The text of comparison.json; missing numbers are null."""
    files = [
        {
            "folder": folder,
            "summary": source.summary.path.name,
            "key": source.summary.attributes.get("key"),
            "models": sorted({run.model for run in source.summary.runs}),
        }
        for source, folder in zip(sources, folders, strict=True)
    ]
    return as_json(
        {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "files": files,
            "together": [product_numbers(product) for product in products],
        }
    )
