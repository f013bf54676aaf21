"""What copying loses without single attention edges: bars of loss and accuracy.

Edits of pairs of (query, key) in all heads at once, against no intervention and against as many
random pairs; models of the same prompts stand below each other, pretrained and fine-tuned.
"""

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from mechsweep_analysis.figures.frame import Drawing, settings
from mechsweep_analysis.json_text import as_json
from mechsweep_analysis.render import file_name
from mechsweep_analysis.samples import prompt_facts
from mechsweep_analysis.studies.edge_data import (
    EdgeRuns,
    cell,
    edge_runs,
    names_of,
    random_of,
    short,
)
from mechsweep_analysis.studies.panels import Sheet, Words, draw_panels, warnings_of
from mechsweep_analysis.studies.product import Product, Source, figure_file
from mechsweep_analysis.style import base_line, interval_words, percent, show

METRICS = {"loss": "loss on the answers (nats)", "correct": "accuracy (share of answers)"}
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999933")


@dataclass(frozen=True)
class Bar:
    """A mean with its interval, and the means of the random draws beside it."""

    pairs: str
    edit: str
    mean: float
    low: float
    high: float
    draws: tuple[float, ...]  # of random pairs; empty: none


def make(sources: list[Source]) -> list[Product]:
    """One product for each experiment on the same kind of prompts, of one or several models."""
    groups: dict[tuple, list[EdgeRuns]] = {}
    for source in sources:
        for runs in edge_runs(source):
            facts = prompt_facts(source.results, runs.chosen)
            parameters = tuple(sorted((k, str(v)) for k, v in facts.get("parameters", {}).items()))
            task = (facts.get("kind", ""), facts.get("parameters", {}).get("length", ""))
            key = (runs.chosen.experiment, runs.chosen.prompts, task, parameters, runs.what)
            groups.setdefault(key, []).append(runs)
    return [_product(key, members) for key, members in groups.items()]


def bars_of(runs: EdgeRuns, name: str) -> list[Bar]:
    """Bars of one metric, by pairs, then edits, as the file has them."""
    metric = runs.chosen.metrics.get(name)
    if metric is None:
        return []
    found = []
    for pairs in names_of(runs.chosen, "pairs"):
        for edit in names_of(runs.chosen, "edit"):
            there = cell(metric, pairs, edit)
            if there is None:
                continue
            kind = runs.source.interval(runs.chosen)
            values = [float(there[key][0]) for key in ("mean", f"{kind}_low", f"{kind}_high")]
            found.append(Bar(pairs, edit, *values, _draws(runs, name, pairs, edit)))
    return found


def _draws(runs: EdgeRuns, name: str, pairs: str, edit: str) -> tuple[float, ...]:
    """Means over prompts of random pairs like these, by draw."""
    for run in (runs.random, runs.chosen):
        if run is not None and name in run.metrics and random_of(pairs) in names_of(run, "pairs"):
            there = cell(run.metrics[name], random_of(pairs), edit)
            if there is not None:
                return tuple(float(value) for value in there["mean"] if np.isfinite(value))
    return ()


def base_of(runs: EdgeRuns, name: str) -> float:
    """Mean without an intervention."""
    metric = runs.chosen.metrics.get(f"base_{name}")
    if metric is not None and metric.is_scalar:
        return float(metric.mean[0])
    return runs.chosen.numbers[{"loss": "base_loss", "correct": "base_accuracy"}[name]]


def _product(key: tuple, members: list[EdgeRuns]) -> Product:
    experiment, prompts, (task, length), _, what = key
    where = f"{experiment}, prompts {prompts}" + (f": {task} of length {length}" if task else "")
    slug = f"{task},length={length}" if task else ""
    name = file_name(experiment, prompts, slug, what, "edge_bars")
    rows = [row for runs in members for row in _numbers(runs)]
    numbers = {"experiment": experiment, "prompts": prompts, "task": task, "length": length or None,
               "operation": what, "edits": rows}  # fmt: skip
    options = members[0].source.options
    return Product(
        name=name,
        title=f"Copying without single attention edges ({what}): {where}",
        said=" ".join(
            f"{_label(runs, members)}: loss {show(base_of(runs, 'loss'))} nats, accuracy "
            f"{percent(base_of(runs, 'correct'))} without an intervention."
            for runs in members
        ),
        numbers=numbers,
        figures=[figure_file(name, _draw(where, what, members), options)],
        documents={f"{name}.json": as_json(numbers)},
        header=["model", "pairs", "edit", "loss", "random pairs", "accuracy", "random pairs"],
        rows=[
            [row["model"], short(row["pairs"]), row["edit"], show(row["loss"]),
             show(row["random_loss"]), percent(row["correct"]), percent(row["random_correct"])]
            for row in rows
        ],
    )  # fmt: skip


def _label(runs: EdgeRuns, members: list[EdgeRuns]) -> str:
    model = runs.chosen.model
    if sum(other.chosen.model == model for other in members) == 1:
        return model
    return f"{model} ({runs.source.summary.path.name.removesuffix('.summary.h5')})"


def _numbers(runs: EdgeRuns) -> list[dict]:
    rows: dict[tuple, dict] = {}
    for name in METRICS:
        for bar in bars_of(runs, name):
            if bar.pairs.startswith("random."):
                continue
            row = rows.setdefault(
                (bar.pairs, bar.edit),
                {"model": runs.chosen.model, "pairs": bar.pairs, "edit": bar.edit}
                | {f"{start}{one}": np.nan for one in METRICS for start in ("", "random_")},
            )
            row |= {
                name: bar.mean,
                f"{name}_interval": [bar.low, bar.high],
                f"random_{name}": float(np.mean(bar.draws)) if bar.draws else np.nan,
                f"random_{name}_draws": list(bar.draws),
                f"base_{name}": base_of(runs, name),
            }
    return list(rows.values())


def _draw(where: str, what: str, members: list[EdgeRuns]) -> Drawing:
    first = members[0].chosen
    prompts = sorted({int(one.chosen.numbers["n_prompts"]) for one in members})
    estimand = first.attributes.get("estimand", "")
    labels = [_label(runs, members) for runs in members]
    runs_by_label = {label: runs.chosen for label, runs in zip(labels, members, strict=True)}
    bases = " ".join(
        f"{label}: {base_line(runs.chosen).removeprefix('Base run: ')}"
        for label, runs in zip(labels, members, strict=True)
    )
    words = Words(
        title=f"Copying without single attention edges ({what}): {', '.join(labels)}",
        subtitle=f"{where}. {estimand}. Means over targets, then {' or '.join(map(str, prompts))} "
        f"prompts; lines: {interval_words(first, members[0].source.interval(first))}. Grey: as "
        "many random pairs of the same queries, mean over draws; crosses: single draws. Dashed: no "
        "intervention.",
        footer=f"Pairs a prompt: {first.attributes.get('pairs_per_prompt', 'not stored')}. "
        f"Base runs. {bases}" + (warnings_of(runs_by_label) if len(members) > 1 else ""),
    )
    groups = len(names_of(first, "pairs"))
    sheet = Sheet(
        rows=len(members), columns=2, width=max(3.6, 1.15 * groups), height=2.4, down=0.75
    )
    with settings():
        figure, panels = draw_panels(words, sheet, first if len(members) == 1 else None)
        for row, runs in enumerate(members):
            for axes, name in zip(panels[row], METRICS, strict=True):
                _panel(axes, runs, name)
                if len(members) > 1:
                    axes.set_title(labels[row], size=9)
        handles, names = panels[0, 0].get_legend_handles_labels()
        top = 1.25 * max(axes.get_ylim()[1] for axes in panels[:, 0])
        for axes in panels[:, 0]:
            axes.set_ylim(top=top)
        panels[0, 0].legend(
            handles, names, fontsize=7.5, frameon=False, loc="upper right", ncols=min(3, len(names))
        )
    said = "; ".join(
        f"{row['model']}, {short(row['pairs'])}, {row['edit']}: loss {show(row['loss'])} (random "
        f"{show(row['random_loss'])}), accuracy {percent(row['correct'])}"
        for runs in members
        for row in _numbers(runs)
    )
    bases = "; ".join(
        f"{label} loss {show(base_of(runs, 'loss'))}, accuracy {percent(base_of(runs, 'correct'))}"
        for label, runs in zip(labels, members, strict=True)
    )
    return Drawing(figure, f"Bars of loss and accuracy. No intervention: {bases}. {said}.")


def _panel(axes: Axes, runs: EdgeRuns, name: str) -> None:
    bars = [bar for bar in bars_of(runs, name) if not bar.pairs.startswith("random.")]
    pairs = list(dict.fromkeys(bar.pairs for bar in bars))
    edits = list(dict.fromkeys(bar.edit for bar in bars))
    wide = 0.84 / max(len(edits), 1)
    has_random = False
    for bar in bars:
        number = edits.index(bar.edit)
        at = pairs.index(bar.pairs) - 0.42 + (number + 0.5) * wide
        left = at - 0.18 * wide if bar.draws else at
        size = 0.54 * wide if bar.draws else 0.8 * wide
        label = bar.edit.replace("_", " ") if bar.pairs == pairs[0] else None
        axes.bar(left, bar.mean, width=size, color=COLOURS[number % len(COLOURS)], label=label)
        if bar.mean == 0:
            axes.text(left, 0, "0", size=7.5, ha="center", va="bottom")
        if np.isfinite(bar.low) and np.isfinite(bar.high):
            axes.vlines(left, bar.low, bar.high, color="black", linewidth=1)
        if bar.draws:
            right = left + 0.46 * wide
            axes.bar(
                right, np.mean(bar.draws), width=0.34 * wide, color="#b8b8b8",
                label=None if has_random else "random pairs",
            )  # fmt: skip
            axes.plot(np.full(len(bar.draws), right), bar.draws, "x", color="#333333", markersize=3)
            has_random = True
    base = base_of(runs, name)
    if np.isfinite(base):
        axes.axhline(base, color="#333333", linewidth=1, linestyle="--", label="no intervention")
    axes.set_xticks(range(len(pairs)), [short(one).replace(" ", "\n") for one in pairs], size=8)
    axes.set_xlim(-0.6, len(pairs) - 0.4)
    axes.grid(axis="x", visible=False)
    axes.set_ylim(0, 1.02 if name == "correct" else None)
    axes.set_ylabel(METRICS[name], size=8.5)
