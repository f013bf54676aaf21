"""The table of a head ablation: every head by what the answer loses without it.

Ranked by the change of the loss, with the count of positive heads and the mean and median of the
first ten, as such tables are usually published; operations of the same run stand beside each other.
"""

import numpy as np

from mechsweep_analysis.render import file_name
from mechsweep_analysis.studies.product import (
    Product,
    Source,
    csv_text,
    heads_by_operation,
    spearman,
    usual,
)
from mechsweep_analysis.style import base_line, interval_words, sample_line, show
from mechsweep_analysis.summary import Metric, Run
from mechsweep_analysis.top_table import Row, top_rows

METRIC = "delta_loss"
TOP = 10
COLUMNS = ["rank", "layer", "head", METRIC, "interval_low", "interval_high"]


def make(source: Source) -> list[Product]:
    products = []
    for run in source.runs("head_ablation"):
        operations = heads_by_operation(run.metrics[METRIC]) if METRIC in run.metrics else {}
        if operations and np.isfinite(run.metrics[METRIC].mean).any():
            products.append(_product(source, run, operations))
    return products


def _product(source: Source, run: Run, operations: dict[str, Metric]) -> Product:
    interval = source.interval(run)
    tables = {name: _ranked(run, metric, interval) for name, metric in operations.items()}
    documents = {}
    for operation, rows in tables.items():
        slug = f"operation={operation}" if operation else ""
        cells = [
            [row.place, row.layer, row.head, row.mean, row.interval_low, row.interval_high]
            for row in rows
        ]
        documents[file_name(run.run_id, slug, "ranking") + ".csv"] = csv_text(COLUMNS, cells)
    first = usual(operations)
    header, rows = _side_by_side(tables, first)
    numbers = {
        "run_id": run.run_id,
        "operations": {_label(run, name): _numbers(table) for name, table in tables.items()},
        "rank_correlations": _correlations(run, operations),
    }
    said = " ".join(_sentences(run, numbers))
    documents[file_name(run.run_id, "ranking") + ".md"] = _markdown(
        run, interval, said, header, rows
    )
    return Product(
        name=file_name(run.run_id, "ranking"),
        title=f"Heads of {run.model} on {run.prompts}, ranked by what the answer loses",
        said=said,
        numbers=numbers,
        documents=documents,
        header=header,
        rows=rows,
    )


def _ranked(run: Run, metric: Metric, interval: str) -> list[Row]:
    return top_rows(run, metric, interval, metric.mean.size)


def _label(run: Run, operation: str) -> str:
    return operation or run.attributes.get("operation", "") or "removed"


def _numbers(table: list[Row]) -> dict:
    means = np.array([row.mean for row in table])
    top = means[:TOP]
    return {
        "heads": len(table),
        "positive": int((means > 0).sum()),
        "top_ten_mean": float(top.mean()),
        "top_ten_median": float(np.median(top)),
        "top_ten": [row.name for row in table[:TOP]],
    }


def _correlations(run: Run, operations: dict[str, Metric]) -> list[dict]:
    names = list(operations)
    return [
        {
            "operations": [_label(run, one), _label(run, other)],
            "spearman": spearman(operations[one].mean.ravel(), operations[other].mean.ravel()),
        }
        for place, one in enumerate(names)
        for other in names[place + 1 :]
    ]


def _side_by_side(tables: dict[str, list[Row]], first: str) -> tuple[list[str], list[list]]:
    """The first ten heads of one operation, with their ranks under the others."""
    others = [name for name in tables if name != first]
    what = f"delta loss, {first} (nats)" if first else "delta loss (nats)"
    header = ["rank", "layer", "head", what, "from", "to"]
    header += [words for name in others for words in (f"{name} (nats)", f"rank at {name}")]
    elsewhere = {name: {row.name: row for row in tables[name]} for name in others}
    rows = []
    for row in tables[first][:TOP]:
        cells = [row.place, row.layer, row.head]
        cells += [show(value) for value in (row.mean, row.interval_low, row.interval_high)]
        for name in others:
            other = elsewhere[name].get(row.name)
            cells += [show(other.mean), other.place] if other else ["–", "–"]
        rows.append(cells)
    return header, rows


def _sentences(run: Run, numbers: dict) -> list[str]:
    said = []
    for name, one in numbers["operations"].items():
        said.append(
            f"Operation {name}: {one['positive']} of {one['heads']} heads have a positive change "
            f"of the loss; the ten largest have mean {show(one['top_ten_mean'])} and median "
            f"{show(one['top_ten_median'])} nats."
        )
    for pair in numbers["rank_correlations"]:
        first, second = pair["operations"]
        said.append(
            f"Rank correlation of {first} and {second} over all heads: {show(pair['spearman'])} "
            "(Spearman)."
        )
    return said


def _markdown(run: Run, interval: str, said: str, header: list[str], rows: list[list]) -> str:
    def line(cells):
        return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"

    parts = [
        f"# Head ablation: {run.model} on {run.prompts}",
        "",
        f"Estimand: {run.attributes.get('estimand') or 'not stored'}. Means over "
        f"{sample_line(run, run.metrics[METRIC])}, {interval_words(run, interval)}.",
        base_line(run),
        *(f"Warning: {warning}." for warning in run.warnings),
        "",
        line(header),
        line(["---"] * len(header)),
        *map(line, rows),
        "",
        said,
        "",
        "Heads are ranked on the prompts of this table, which flatters the first.",
    ]
    return "\n".join(parts) + "\n"
