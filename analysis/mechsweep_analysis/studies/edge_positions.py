"""Loss and accuracy of every copied token, with attention edges edited and without.

From the results file, which has every target; the summary averages over them.
"""

import numpy as np
from matplotlib.axes import Axes

from mechsweep_analysis.figures.frame import Drawing, settings
from mechsweep_analysis.render import file_name
from mechsweep_analysis.samples import Readings, read_targets
from mechsweep_analysis.studies.edge_bars import COLOURS
from mechsweep_analysis.studies.edge_data import (
    CUT,
    EdgeRuns,
    edge_runs,
    names_of,
    random_of,
    short,
)
from mechsweep_analysis.studies.panels import Sheet, Words, curve, draw_panels
from mechsweep_analysis.studies.product import Product, Source, csv_text, figure_file
from mechsweep_analysis.style import base_line, show
from mechsweep_analysis.summary import Run

LABELS = {"loss": "loss (nats)", "correct": "accuracy"}
COLUMNS = ["pairs", "edit", "metric", "target", "mean", "standard_error", "prompts"]
BASE = "no intervention"


def make(source: Source) -> list[Product]:
    products = [_product(runs) for runs in edge_runs(source)]
    return [product for product in products if product is not None]


def curve_of(readings: Readings, name: str, pairs: str, edit: str) -> np.ndarray | None:
    """[prompt, target] of one edit, averaged over draws; None where the run has no such edit."""
    values = getattr(readings, name)
    for axis in reversed(readings.axes):
        place = readings.axes.index(axis) + 1
        if axis == "draw":
            values = values.mean(axis=place)
            continue
        wanted = {"pairs": pairs, "edit": edit}.get(axis)
        if wanted is not None and wanted not in readings.labels.get(axis, []):
            return None
        at = readings.labels[axis].index(wanted) if wanted is not None else 0
        values = values.take(at, axis=place)
    return values


def summarise(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, standard error and number of prompts of every target of [prompt, target]."""
    there = np.isfinite(values)
    counts = there.sum(axis=0)
    total = np.where(there, values, 0.0).sum(axis=0)
    means = np.divide(total, counts, out=np.full(counts.shape, np.nan), where=counts > 0)
    squares = (np.where(there, values - means, 0.0) ** 2).sum(axis=0)
    spread = np.divide(squares, counts - 1, out=np.full(counts.shape, np.nan), where=counts > 1)
    return means, np.sqrt(spread / np.maximum(counts, 1)), counts


def _curves(runs: EdgeRuns) -> dict[tuple[str, str], dict[str, np.ndarray]] | None:
    """{(pairs, edit): {metric: [prompt, target]}}, ("", "") being the base run."""
    readings = read_targets(runs.source.results, runs.chosen)
    if readings is None or readings.loss.shape[-1] < 2:
        return None
    found = {("", ""): {"loss": readings.base_loss, "correct": readings.base_correct}}
    random = read_targets(runs.source.results, runs.random) if runs.random else None
    for pairs in names_of(runs.chosen, "pairs"):
        for edit in names_of(runs.chosen, "edit"):
            for which, name in ((readings, pairs), (random, random_of(pairs))):
                if which is None:
                    continue
                curves = {one: curve_of(which, one, name, edit) for one in LABELS}
                if all(values is not None for values in curves.values()):
                    found[name, edit] = curves
    return found


def _product(runs: EdgeRuns) -> Product | None:
    curves = _curves(runs)
    if curves is None:
        return None
    run = runs.chosen
    name = file_name(run.run_id, "edge_positions")
    rows = []
    for (pairs, edit), metrics in curves.items():
        for metric, values in metrics.items():
            for target, cell in enumerate(zip(*summarise(values), strict=True), start=1):
                mean, error, prompts = cell
                rows.append(
                    [pairs or BASE, edit, metric, target, float(mean), float(error), int(prompts)]
                )
    return Product(
        name=name,
        title=f"Every copied token, with edges edited: {run.model} on {run.prompts}",
        said="Targets count from 1, the first copied token, which is read at the separator.",
        numbers={"run_id": run.run_id},
        figures=[figure_file(name, _draw(runs, curves), runs.source.options)],
        documents={f"{name}.csv": csv_text(COLUMNS, rows)},
    )


def _draw(runs: EdgeRuns, curves: dict) -> Drawing:
    run = runs.chosen
    edits = names_of(run, "edit")
    prompts = len(curves["", ""]["loss"])
    words = Words(
        title=f"Loss and accuracy of every copied token: {run.model} on {run.prompts}",
        subtitle=f"{run.run_id}: {run.attributes.get('estimand', '')}. Means over up to {prompts} "
        "prompts, bands ± 1 standard error over prompts; dotted: as many random pairs, mean over "
        "draws.",
        footer=f"Columns: what of the pairs is edited. {base_line(run)}",
    )
    sheet = Sheet(rows=2, columns=len(edits), width=3.2, height=2.2, across=0.55, down=0.4,
                  right=2.1)  # fmt: skip
    with settings():
        figure, panels = draw_panels(words, sheet, run)
        for column, edit in enumerate(edits):
            for axes, metric in zip(panels[:, column], LABELS, strict=True):
                _panel(axes, run, curves, edit, metric)
            title = "attention cut" if edit == CUT else edit.replace("_", " ")
            panels[0, column].set_title(title, size=9)
            panels[1, column].set_xlabel("copied token (1: the first)", size=8.5)
        for axes, label in zip(panels[:, 0], LABELS.values(), strict=True):
            axes.set_ylabel(label, size=9)
        top = max(axes.get_ylim()[1] for axes in panels[0])
        for axes in panels[0]:
            axes.set_ylim(0, top)
        panels[0, -1].legend(
            fontsize=7.5, frameon=False, loc="upper left", bbox_to_anchor=(1.02, 1.0)
        )
    return Drawing(figure, _caption(run, curves))


def _panel(axes: Axes, run: Run, curves: dict, edit: str, metric: str) -> None:
    targets = np.arange(1, curves["", ""][metric].shape[1] + 1)
    _line(axes, targets, curves["", ""][metric], color="black", label=BASE)
    for number, pairs in enumerate(names_of(run, "pairs")):
        colour = COLOURS[number % len(COLOURS)]
        for name, options in (
            (pairs, {"label": short(pairs)}),
            (random_of(pairs), {"linestyle": ":", "label": f"random, like {short(pairs)}"}),
        ):
            if (name, edit) in curves:
                _line(axes, targets, curves[name, edit][metric], color=colour, **options)
    axes.set_ylim(-0.02 if metric == "correct" else 0, 1.02 if metric == "correct" else None)
    axes.xaxis.get_major_locator().set_params(integer=True)


def _line(axes: Axes, targets: np.ndarray, values: np.ndarray, **options) -> None:
    means, errors, _ = summarise(values)
    curve(axes, targets, means, means - errors, means + errors, marker="o", **options)


def _caption(run: Run, curves: dict) -> str:
    parts = []
    for (pairs, edit), metrics in curves.items():
        means, _, _ = summarise(metrics["loss"])
        what = f"{short(pairs)}, {edit}" if pairs else BASE
        parts.append(f"{what}: {show(float(means[0]))} to {show(float(means[-1]))}")
    return (
        f"Curves of loss and accuracy over copied tokens, {run.model} on {run.prompts}. Loss of "
        f"the first and the last token, nats: {'; '.join(parts)}."
    )
