"""report.json: the headline numbers of a report, for programs."""

from collections.abc import Sequence

from mechsweep_analysis import __version__
from mechsweep_analysis.json_text import as_json
from mechsweep_analysis.render import MetricResult, RunResult
from mechsweep_analysis.studies.product import Product
from mechsweep_analysis.summary import Metric, Summary

FORMAT = "mechsweep-report"
FORMAT_VERSION = 1
FACTS = ("name", "key", "source", "source_key", "software_version", "seed", "kernels")
MOST_CELLS = 200  # metrics with at most so many cells are listed in full


def report_json(
    summary: Summary, results: list[RunResult], products: Sequence[Product] = ()
) -> str:
    """The text of the file; missing numbers are null."""
    report = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "analysis_version": __version__,
        "summary": summary.path.name,
        **{name: summary.attributes.get(name) for name in FACTS},
        "runs": [_run(result) for result in results],
        "across_runs": [product_numbers(product) for product in products],
    }
    return as_json(report)


def product_numbers(product: Product) -> dict:
    return {
        "name": product.name,
        "title": product.title,
        **product.numbers,
        "figures": [{"name": one.name, "caption": one.caption} for one in product.figures],
        "tables": list(product.documents),
    }


def _run(result: RunResult) -> dict:
    run = result.run
    return {
        "run_id": run.run_id,
        "kind": run.kind,
        "estimand": run.attributes.get("estimand"),
        "warnings": list(run.warnings),
        "interval": result.interval,
        **run.numbers,
        "metrics": [_metric(metric, result.interval) for metric in result.metrics],
    }


def _metric(result: MetricResult, interval: str) -> dict:
    metric = result.metric
    out = {
        "name": metric.name,
        "long_name": metric.long_name,
        "units": metric.units,
        "axes": list(metric.axis_names),
        **result.numbers,
        "figures": [{"name": figure.name, "caption": figure.caption} for figure in result.figures],
    }
    if result.tables:
        out["top"] = [
            {"where": table.where, "heads": [vars(row) | {"name": row.name} for row in table.rows]}
            for table in result.tables
        ]
    elif metric.mean.size <= MOST_CELLS:
        out["values"] = _cells(metric, interval)
    return out


def _cells(metric: Metric, interval: str) -> list[dict]:
    low, high = metric.interval(interval)
    rows = []
    for place in range(metric.mean.size):
        index = _unravel(place, metric.mean.shape)
        at = {axis.name: axis.values[i] for axis, i in zip(metric.axes, index, strict=True)}
        rows.append(
            {
                **({} if metric.is_scalar else at),
                "mean": float(metric.mean[index]),
                "interval_low": float(low[index]),
                "interval_high": float(high[index]),
                "prompts": int(metric.arrays["prompts"][index]),
                "clusters": int(metric.arrays["clusters"][index]),
            }
        )
    return rows


def _unravel(place: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    index = []
    for size in reversed(shape):
        place, at = divmod(place, size)
        index.append(at)
    return tuple(reversed(index))
