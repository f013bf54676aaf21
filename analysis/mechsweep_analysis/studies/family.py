"""Scores of several models together: against their size, and over relative depth."""

import math
from dataclasses import dataclass

import numpy as np

from mechsweep_analysis.figures.frame import Body, Drawing, build_titled, settings
from mechsweep_analysis.render import file_name
from mechsweep_analysis.studies.product import (
    Product,
    Source,
    csv_text,
    figure_file,
    head_names,
    relative_depths,
)
from mechsweep_analysis.style import count, is_headline, quantity, show
from mechsweep_analysis.summary import Metric, Run

TOP = 5
WIDTH, HEIGHT = 8.4, 3.5
# Okabe and Ito's colours, which can be told apart with any of the common deficiencies.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999933")
MARKERS = "osD^vP*X"


@dataclass(frozen=True, eq=False)
class Member:
    """One model's scores."""

    label: str
    run: Run
    metric: Metric  # [layer, head]
    layers: int
    parameters: float  # NaN where the file does not say

    @property
    def strongest(self) -> list[int]:
        """Indices of the heads with the largest means, flattened."""
        means = self.metric.mean.ravel()
        order = np.argsort(-np.where(np.isfinite(means), means, -np.inf), kind="stable")[:TOP]
        return [int(place) for place in order if math.isfinite(means[place])]


def make(sources: list[Source]) -> list[Product]:
    """One product for each score that at least two models have under the same names."""
    groups: dict[tuple[str, str, str], list[Member]] = {}
    for source in sources:
        for run in source.runs("attention_scores"):
            for name, metric in run.metrics.items():
                if is_headline(run, metric) and set(metric.axis_names) == {"layer", "head"}:
                    members = groups.setdefault((run.experiment, run.prompts, name), [])
                    members.append(_member(source, run, metric, members))
    options = sources[0].options
    return [
        _product(names, members, options) for names, members in groups.items() if len(members) > 1
    ]


def _member(source: Source, run: Run, metric: Metric, others: list[Member]) -> Member:
    facts = source.summary.models.get(run.model, {})
    metric = metric.ordered(("layer", "head"))
    known = [member.label for member in others]
    file = source.summary.path.name.removesuffix(".summary.h5")
    label = run.model if run.model not in known else f"{run.model} ({file})"
    while label in known:
        label += "'"
    layers = int(facts.get("n_layers") or len(metric.axis("layer").values))
    return Member(label, run, metric, layers, parameters(facts))


def parameters(facts: dict[str, str]) -> float:
    """Weights of a model's matrices and embeddings from its sizes; norms and biases are left out.

    NaN where a size is missing. Attributes of /models/ID: docs/results-file.md.
    """
    try:
        width, layers, heads = (int(facts[name]) for name in ("d_model", "n_layers", "n_heads"))
        size, inner, words = (int(facts[name]) for name in ("head_size", "d_mlp", "vocab_size"))
        shared = int(facts.get("n_kv_heads", heads))
    except (KeyError, ValueError):
        return math.nan
    attention = 2 * width * heads * size + 2 * width * shared * size
    mlp = (3 if facts.get("gated_mlp") == "True" else 2) * width * inner
    embeddings = words * width * (1 if facts.get("tied_embeddings") == "True" else 2)
    if facts.get("position") == "learned":
        embeddings += int(facts.get("max_positions", 0)) * width
    return float(layers * (attention + mlp) + embeddings)


def _product(names: tuple[str, str, str], members: list[Member], options) -> Product:
    experiment, prompts, metric = names
    members = sorted(members, key=lambda one: (one.parameters, one.label))
    columns = ["model", "parameters", "layers", "place", "layer", "head", "relative_depth"]
    rows, shown, numbers = [], [], []
    for member in members:
        means, heads = member.metric.mean.ravel(), head_names(member.metric)
        depths = relative_depths(member.metric, member.layers)
        top = [(heads[i], float(depths[i]), float(means[i])) for i in member.strongest]
        for place, (head, depth, mean) in enumerate(top, start=1):
            layer, number = map(int, head[1:].split("H"))
            rows.append(
                [member.label, member.parameters, member.layers, place, layer, number, depth, mean]
            )
        words = ", ".join(f"{head} {show(mean)}" for head, _, mean in top)
        shown.append(
            [member.label, show(member.parameters / 1e6, 0), member.layers, words]
            + [show(top[0][1], 2) if top else "–"]
        )
        first = {"head": top[0][0], "relative_depth": top[0][1], "score": top[0][2]} if top else {}
        numbers.append({"model": member.label, "parameters": _or_none(member.parameters)} | first)
    name = file_name(experiment, prompts, metric, "family")
    drawing = _draw(members, f"{experiment}, prompts {prompts}")
    return Product(
        name=name,
        title=f"{quantity(members[0].metric)} of {count(len(members), 'model')}: {experiment} on "
        f"{prompts}",
        said="Depth is (layer + ½) / layers, so that models of different depth can be compared.",
        numbers={"experiment": experiment, "prompts": prompts, "metric": metric, "models": numbers},
        figures=[figure_file(name, drawing, options)],
        documents={f"{name}.csv": csv_text([*columns, "score"], rows)},
        header=["model", "million parameters", "layers", "top five heads", "depth of the first"],
        rows=shown,
    )


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _draw(members: list[Member], where: str) -> Drawing:
    metric = members[0].metric
    what = metric.long_name[:1].upper() + metric.long_name[1:]
    prompts = sorted({int(one.metric.arrays["prompts"].max()) for one in members})
    subtitle = (
        f"{where}. Left: the {TOP} heads with the largest scores of each model, a line through the "
        "first. Right: the largest score in every layer. Means over "
        f"{' or '.join(map(str, prompts))} prompts."
    )
    footer = (
        "The largest of many heads is flattered by chance, the more so the more heads there are. "
        "Parameters: matrices and embeddings."
    )
    body = Body(what="", width=WIDTH, height=HEIGHT, left=0.7)
    with settings():
        figure, axes = build_titled(f"{what} by size and depth", subtitle, footer, body)
        box = axes.get_position()
        axes.set_position((box.x0, box.y0, box.width * 0.4, box.height))
        right = figure.add_axes((box.x0 + box.width * 0.5, box.y0, box.width * 0.5, box.height))
        _draw_sizes(axes, members)
        _draw_depths(right, members)
        axes.set_ylabel(quantity(metric), size=9)
        for one in (axes, right):
            one.set_ylim(-0.03, 1.03 if _is_share(members) else None)
            one.tick_params(labelsize=8)
            one.grid(color="#e5e5e5", linewidth=0.6)
            one.set_axisbelow(True)
    firsts = "; ".join(
        f"{one.label} {head_names(one.metric)[one.strongest[0]]} "
        f"{show(float(one.metric.mean.ravel()[one.strongest[0]]))}"
        for one in members
        if one.strongest
    )
    caption = f"{what} of {len(members)} models by size and by relative depth. Largest: {firsts}."
    return Drawing(figure, caption)


def _is_share(members: list[Member]) -> bool:
    return all(np.nanmax(one.metric.mean, initial=0.0) <= 1.0 for one in members)


def _style(place: int) -> dict:
    return {"color": COLOURS[place % len(COLOURS)], "marker": MARKERS[place % len(MARKERS)]}


def _draw_sizes(axes, members: list[Member]) -> None:
    sized = [one for one in members if math.isfinite(one.parameters) and one.strongest]
    firsts = [float(one.metric.mean.ravel()[one.strongest[0]]) for one in sized]
    axes.plot([one.parameters for one in sized], firsts, color="#888888", linewidth=1, zorder=1)
    for place, one in enumerate(members):
        if one in sized:
            means = one.metric.mean.ravel()[one.strongest]
            across = np.full(len(means), one.parameters)
            axes.scatter(across, means, s=26, edgecolor="white", linewidth=0.4, **_style(place))
    axes.set_xscale("log")
    axes.margins(x=0.25)
    axes.set_xticks([one.parameters for one in sized], [_short(one.parameters) for one in sized])
    axes.minorticks_off()
    axes.set_xlabel("parameters (log scale)", size=9)


def _short(parameters_: float) -> str:
    for unit, words in ((1e9, "B"), (1e6, "M")):
        if parameters_ >= unit:
            return f"{parameters_ / unit:.3g} {words}"
    return f"{parameters_:.0f}"


def _draw_depths(axes, members: list[Member]) -> None:
    for place, one in enumerate(members):
        there = np.where(np.isfinite(one.metric.mean), one.metric.mean, -np.inf).max(axis=1)
        there = np.where(np.isfinite(there), there, np.nan)
        depths = (np.array(one.metric.axis("layer").values) + 0.5) / one.layers
        axes.plot(depths, there, linewidth=1.3, markersize=3.5, label=one.label, **_style(place))
    axes.set_xlim(0, 1)
    axes.set_xlabel("relative depth, (layer + ½) / layers", size=9)
    axes.legend(fontsize=7.5, frameon=False, loc="best")
