"""What copying loses without the top heads, against random heads: loss and accuracy.

From head ablations with `controls`: the chosen sets' means beside those of the random sets.
"""

import numpy as np
from matplotlib.axes import Axes

from mechsweep_analysis.figures.frame import Drawing, settings
from mechsweep_analysis.json_text import as_json
from mechsweep_analysis.render import file_name
from mechsweep_analysis.studies.panels import Sheet, Words, draw_panels
from mechsweep_analysis.studies.product import Product, Source, figure_file
from mechsweep_analysis.style import base_line, percent, show
from mechsweep_analysis.summary import Metric, Run

CHOSEN = "#b2182b"
RANDOM = {"uniform": "#7da7cf", "layer": "#b8b8b8"}
METRICS = ("delta_loss", "delta_correct")
PLACES = ("k", "set")


def make(source: Source) -> list[Product]:
    return [
        _product(source, run, operation)
        for run in source.runs("head_ablation")
        for operation in operations_of(run)
    ]


def operations_of(run: Run) -> list[str]:
    """The values of the axis `operation`, "" where there is none; none without random sets."""
    if "delta_loss" not in run.controls:
        return []
    metric = run.controls["delta_loss"]
    return list(metric.axis("operation").values) if "operation" in metric.axis_names else [""]


def _cut(metric: Metric, operation: str) -> Metric:
    """[k or set, match], or without `match` for metrics of the chosen sets alone."""
    if operation:
        metric = metric.at({"operation": metric.axis("operation").values.index(operation)})
    place = next(name for name in PLACES if name in metric.axis_names)
    order = (place, "match") if "match" in metric.axis_names else (place,)
    return metric.ordered(order)


def comparisons(run: Run, operation: str) -> list[dict]:
    """A row for every number of heads (or set), way to draw and metric."""
    rows = []
    for name in METRICS:
        if name not in run.controls:
            continue
        metric = _cut(run.controls[name], operation)
        for place, match in np.ndindex(metric.mean.shape):
            cell = {key: array[place, match] for key, array in metric.arrays.items()}
            rows.append(
                {
                    "metric": name,
                    metric.axes[0].name: metric.axes[0].values[place],
                    "match": metric.axes[1].values[match],
                    "chosen": float(cell["observed"]),
                    "random_mean": float(cell["mean"]),
                    "random_interval": [float(cell["quantile_025"]), float(cell["quantile_975"])],
                    "p_value": float(cell["p_value"]),
                    "draws": int(cell["draws"]),
                    "prompts": int(cell["prompts"]),
                    "alternative": metric.attributes.get("alternative", ""),
                }
            )
    return rows


def before(run: Run, name: str) -> float:
    """Mean without an intervention, over the prompts that count where the file says so."""
    base, attribute = {"delta_loss": ("base_loss", "base_loss"),
                       "delta_correct": ("base_correct", "base_accuracy")}[name]  # fmt: skip
    if base in run.metrics and run.metrics[base].is_scalar:
        return float(run.metrics[base].mean[0])
    return run.numbers[attribute]


def _product(source: Source, run: Run, operation: str) -> Product:
    slug = f"operation={operation}" if operation else ""
    name = file_name(run.run_id, slug, "causal")
    rows = comparisons(run, operation)
    place = next(key for key in PLACES if key in rows[0])
    numbers = {
        "run_id": run.run_id,
        "operation": operation or run.attributes.get("operation", ""),
        "base_loss": before(run, "delta_loss"),
        "base_accuracy": before(run, "delta_correct"),
        "comparisons": rows,
    }
    table = [
        [row["metric"], row[place], row["match"], show(row["chosen"]), show(row["random_mean"]),
         *map(show, row["random_interval"]), row["draws"], show(row["p_value"])]
        for row in rows
    ]  # fmt: skip
    return Product(
        name=name,
        title=f"Chosen heads against random heads: {run.model} on {run.prompts}"
        + (f", operation {operation}" if operation else ""),
        said=sentence(run, rows, place),
        numbers=numbers,
        figures=[figure_file(name, _draw(source, run, operation, rows, place), source.options)],
        documents={f"{name}.json": as_json(numbers)},
        header=["metric", place, "drawn", "chosen", "random", "2.5 %", "97.5 %", "draws", "p"],
        rows=table,
    )


def sentence(run: Run, rows: list[dict], place: str) -> str:
    """Each number of heads: what the chosen ones cost, and what random ones do."""
    base, right = before(run, "delta_loss"), before(run, "delta_correct")
    parts = [f"Before: loss {show(base)} nats, accuracy {percent(right)}."]
    for row in rows:
        if row["metric"] == "delta_loss":
            parts.append(f"{place} {row[place]} ({row['match']}): loss {_against(row, ' nats')}")
            parts[-1] += "".join(
                f"; accuracy {_against(other, '')}"
                for other in rows
                if other["metric"] == "delta_correct"
                and (other[place], other["match"]) == (row[place], row["match"])
            )
            parts[-1] += f"; {row['draws']} random sets."
    return " ".join(parts)


def _against(row: dict, unit: str) -> str:
    """`+0.520 nats against +0.257 [−0.099, 1.221], p = 0.190`."""
    low, high = map(show, row["random_interval"])
    p_value = f", p = {show(row['p_value'])}" if np.isfinite(row["p_value"]) else ""
    return (
        f"{_signed(row['chosen'])}{unit} against {_signed(row['random_mean'])} "
        f"[{low}, {high}]{p_value}"
    )


def _signed(value: float) -> str:
    return f"+{show(value)}" if value > 0 else show(value)


def _draw(source: Source, run: Run, operation: str, rows: list[dict], place: str) -> Drawing:
    draws = sorted({row["draws"] for row in rows})
    prompts = sorted({row["prompts"] for row in rows})
    many = " or ".join(map(str, draws))
    few = " or ".join(map(str, prompts))
    what = "top heads" if place == "k" else "sets of heads"
    estimand = run.attributes.get("estimand", "")
    tests = list(dict.fromkeys(row["alternative"].replace("_", "-") for row in rows))
    words = Words(
        title=f"Copying without the {what}, against random heads: {run.model} on {run.prompts}",
        subtitle=f"{run.run_id}: {estimand}{f', operation {operation}' if operation else ''}. "
        "Means "
        f"over {few} prompts. Random: {many} sets of as many heads, bars their mean, lines their "
        "central 95 %; lines of chosen heads: intervals over prompts. Dashed: no intervention.",
        footer="p: share of random sets that are as extreme, against the choice of heads"
        + (f" ({' and '.join(tests)} for loss and accuracy)" if all(tests) else "")
        + f". {_held_out(run)}{base_line(run)}",
    )
    present = [name for name in METRICS if any(row["metric"] == name for row in rows)]
    sheet = Sheet(columns=len(present), width=4.4, height=3.0, bottom=0.6, right=2.4)
    with settings():
        figure, panels = draw_panels(words, sheet, run)
        for axes, name in zip(panels[0], present, strict=True):
            _panel(axes, source, run, operation, name, [r for r in rows if r["metric"] == name])
        handles, labels = panels[0, 0].get_legend_handles_labels()
        panels[0, -1].legend(
            handles,
            labels,
            fontsize=7.5,
            frameon=False,
            loc="upper left",
            bbox_to_anchor=(1.0, 1.0),
        )
    caption = f"Bars of loss and accuracy without {what} and without random heads. "
    return Drawing(figure, caption + sentence(run, rows, place))


def _held_out(run: Run) -> str:
    held = run.attributes.get("held_out", "")
    if held == "True":
        return "Heads were chosen on other prompts. "
    return "Heads were chosen on some of these prompts, too. " if held == "False" else ""


def _panel(axes: Axes, source: Source, run: Run, operation: str, name: str, rows: list) -> None:
    metric = _cut(run.controls[name], operation)
    values, matches = (axis.values for axis in metric.axes)
    base = before(run, name)
    base = base if np.isfinite(base) else 0.0
    wide = 0.8 / (1 + len(matches))
    groups = np.arange(len(values))
    left = groups - 0.4 + wide / 2
    chosen = base + metric.arrays["observed"][:, 0]
    axes.bar(left, chosen, width=wide * 0.94, color=CHOSEN, label="chosen heads")
    for low, high, at in _chosen_intervals(source, run, operation, name, left, base):
        axes.vlines(at, low, high, color="black", linewidth=1.1)
    for number, match in enumerate(matches):
        at = left + (number + 1) * wide
        column = {key: array[:, number] for key, array in metric.arrays.items()}
        label = {"uniform": "random heads", "layer": "random heads of the same layers"}.get(
            str(match), f"random heads ({match})"
        )
        axes.bar(at, base + column["mean"], width=wide * 0.94, label=label,
                 color=RANDOM.get(str(match), "#cccccc"))  # fmt: skip
        axes.vlines(at, base + column["quantile_025"], base + column["quantile_975"],
                    color="black", linewidth=1.1)  # fmt: skip
    axes.axhline(base, color="#333333", linewidth=1, linestyle="--")
    labels = []
    for place, value in enumerate(values):
        pairs = zip(matches, metric.arrays["p_value"][place], strict=True)
        p_values = [f"p {show(p, 2)} ({match})" for match, p in pairs if np.isfinite(p)]
        labels.append("\n".join([f"k = {value}" if metric.axes[0].name == "k" else str(value),
                                 *p_values]))  # fmt: skip
    axes.set_xticks(groups, labels, size=7)
    axes.grid(axis="x", visible=False)
    axes.set_ylim(0, None if name == "delta_loss" else 1.02)
    axes.set_ylabel(
        "loss on the answer (nats)" if name == "delta_loss" else "accuracy (share of answers)",
        size=9,
    )


def _chosen_intervals(
    source: Source, run: Run, operation: str, name: str, places: np.ndarray, base: float
) -> list[tuple[float, float, float]]:
    """(low, high, place) over prompts, where the run has a metric of the chosen sets alone."""
    if name == "delta_correct":  # the run has the accuracy itself, not its change
        name, base = "correct", 0.0
    metric = run.metrics.get(name)
    if metric is None or not set(metric.axis_names) & set(PLACES):
        return []
    if ("operation" in metric.axis_names) != bool(operation):
        return []
    metric = _cut(metric, operation)
    if len(metric.axes) != 1 or len(metric.mean) != len(places):
        return []
    low, high = metric.interval(source.interval(run))
    return [
        (base + float(a), base + float(b), float(at))
        for a, b, at in zip(low, high, places, strict=True)
        if np.isfinite(a) and np.isfinite(b)
    ]
