"""Attention scores against effects: does the model use the heads that attend in a pattern?

For every attention_scores run with a head ablation of the same model and prompts: each head's mean
score against its mean effect on the answer's logit, which is computed from the results file.
"""

from dataclasses import dataclass

import numpy as np

from mechsweep_analysis.figures.frame import (
    Body,
    Drawing,
    add_colour_bar,
    build_titled,
    settings,
    text_width,
)
from mechsweep_analysis.render import file_name
from mechsweep_analysis.samples import prompt_effects
from mechsweep_analysis.studies.product import (
    Product,
    Source,
    csv_text,
    figure_file,
    head_names,
    heads_by_operation,
    relative_depths,
    spearman,
    usual,
)
from mechsweep_analysis.style import base_line, count, is_headline, quantity, show
from mechsweep_analysis.summary import Metric, Run
from mechsweep_analysis.top_table import top_five

METRIC = "delta_loss"
WIDTH, HEIGHT = 5.2, 4.2
LABELLED = 5


@dataclass(frozen=True)
class Effects:
    """Mean effects of all heads, flattened [layer, head]."""

    run: Run
    means: np.ndarray
    errors: np.ndarray  # standard errors over prompts
    prompts: int
    name: str  # of the column
    label: str  # of the axis


def make(source: Source) -> list[Product]:
    products = []
    for scores in source.runs("attention_scores"):
        metrics = {
            name: metric.ordered(("layer", "head"))
            for name, metric in scores.metrics.items()
            if is_headline(scores, metric) and set(metric.axis_names) == {"layer", "head"}
        }
        for run in source.runs("head_ablation"):
            if metrics and (run.model, run.prompts) == (scores.model, scores.prompts):
                effects = _effects(source, run, next(iter(metrics.values())))
                if effects:
                    products.append(_product(source, scores, metrics, effects))
    return products


def _effects(source: Source, run: Run, like: Metric) -> Effects | None:
    """On the answer's logit; on the loss where there is no results file. None for other heads."""
    heads = heads_by_operation(run.metrics[METRIC]) if METRIC in run.metrics else {}
    if not heads:
        return None
    operation = usual(heads)
    metric = heads[operation]
    if metric.axes != like.axes:
        return None
    changes = prompt_effects(source.results, run, "logit", operation)
    if changes is None:
        label = "change of the loss on the answer (nats)"
        errors = metric.arrays["standard_error"].ravel()
        prompts = int(metric.arrays["prompts"].max())
        return Effects(run, metric.mean.ravel(), errors, prompts, METRIC, label)
    flat = changes.reshape(len(changes), -1)
    flat = flat[np.isfinite(flat).all(axis=1)]
    if not len(flat):
        return None
    deviation = flat.std(axis=0, ddof=1) if len(flat) > 1 else np.full(flat.shape[1], np.nan)
    return Effects(
        run=run,
        means=flat.mean(axis=0),
        errors=deviation / np.sqrt(len(flat)),
        prompts=len(flat),
        name="delta_logit",
        label="change of the answer's logit (logits)",
    )


def _product(source: Source, scores: Run, metrics: dict[str, Metric], effects: Effects) -> Product:
    run = effects.run
    layers = int(source.summary.models.get(run.model, {}).get("n_layers", 0) or 0)
    first = next(iter(metrics.values()))
    depths = relative_depths(first, layers or len(first.axis("layer").values))
    names = head_names(first)
    correlations = {name: spearman(m.mean.ravel(), effects.means) for name, m in metrics.items()}
    figures = [
        figure_file(
            file_name(scores.run_id, run.experiment, name, "score_effect"),
            _draw(scores, metric, effects, depths, correlations[name]),
            source.options,
        )
        for name, metric in metrics.items()
    ]
    columns = ["layer", "head", *metrics, effects.name, f"{effects.name}_standard_error"]
    rows = [
        [
            *map(int, head[1:].split("H")),
            *(float(metric.mean.ravel()[place]) for metric in metrics.values()),
            float(effects.means[place]),
            float(effects.errors[place]),
        ]
        for place, head in enumerate(names)
    ]
    name = file_name(scores.run_id, run.experiment, "score_effect")
    numbers = {
        "scores": scores.run_id,
        "effects": run.run_id,
        "effect": effects.name,
        "spearman": correlations,
        "top_five": {name: top_five(scores, metric) for name, metric in metrics.items()},
    }
    said = " ".join(
        [f"Top five by {one}: {words}." for one, words in numbers["top_five"].items()]
        + [f"Rank correlation of {one} with the effect: {show(rho)} (Spearman, all heads)."
           for one, rho in correlations.items()]
    )  # fmt: skip
    if effects.name == METRIC:
        said += f" Effects are on the loss: {source.note or 'the results file has no logits.'}"
    return Product(
        name=name,
        title=f"Scores and effects of {run.model}'s heads on {run.prompts}",
        said=said,
        numbers=numbers,
        figures=figures,
        documents={f"{name}.csv": csv_text(columns, rows)},
    )


def _draw(scores: Run, metric: Metric, effects: Effects, depths: np.ndarray, rho: float) -> Drawing:
    run, means = effects.run, metric.mean.ravel()
    what = metric.long_name[:1].upper() + metric.long_name[1:]
    title = f"{what} against effect: {run.model} on {run.prompts}"
    subtitle = (
        f"{run.run_id}: {run.attributes.get('estimand') or 'each head removed'}. One dot: a head; "
        f"both means over {count(effects.prompts, 'prompt')}; vertical lines: ± 1 standard error. "
        f"Rank correlation {show(rho)} over {means.size} heads (Spearman)."
    )
    footer = (
        f"Labels: the {LABELLED} largest scores and the {LABELLED} largest absolute effects. "
        + base_line(run)
    )
    body = Body(what="", width=WIDTH, height=HEIGHT, left=0.85, right=1.15)
    with settings():
        figure, axes = build_titled(title, subtitle, footer, body, run)
        axes.axhline(0, color="#555555", linewidth=0.8, linestyle="--")
        axes.vlines(
            means,
            effects.means - effects.errors,
            effects.means + effects.errors,
            color="#999999",
            linewidth=0.7,
        )
        dots = axes.scatter(
            means, effects.means, c=depths, cmap="viridis", vmin=0, vmax=1, s=20, zorder=3,
            edgecolor="white", linewidth=0.3,
        )  # fmt: skip
        _label_dots(axes, metric, effects.means)
        axes.set_xlabel(quantity(metric), size=9)
        axes.set_ylabel(effects.label, size=9)
        axes.grid(color="#e5e5e5", linewidth=0.6)
        axes.set_axisbelow(True)
        add_colour_bar(figure, axes, dots, "relative depth (layer + ½) / layers", "neither")
    caption = (
        f"Scatter of {quantity(metric)} ({scores.run_id}) and {effects.label} ({run.run_id}) of "
        f"{means.size} heads, coloured by relative depth. Spearman {show(rho)}. "
        f"Largest scores: {top_five(scores, metric)}."
    )
    return Drawing(figure, caption)


def _label_dots(axes, metric: Metric, effects: np.ndarray) -> None:
    """Names of the heads that stand out, where they cover neither each other nor those dots."""
    means, names = metric.mean.ravel(), head_names(metric)
    there = np.isfinite(means) & np.isfinite(effects)
    by_score = np.argsort(-np.where(there, means, -np.inf), kind="stable")[:LABELLED]
    by_effect = np.argsort(-np.where(there, np.abs(effects), -np.inf), kind="stable")[:LABELLED]
    axes.set_xlim(*_with_room(means[there]))
    axes.set_ylim(*_with_room(effects[there]))
    size = np.array([WIDTH, HEIGHT])
    corner = np.array([axes.get_xlim()[0], axes.get_ylim()[0]])
    spans = np.array([axes.get_xlim()[1], axes.get_ylim()[1]]) - corner
    chosen = sorted({*by_score.tolist(), *by_effect.tolist()})
    dots = [(np.array([means[i], effects[i]]) - corner) / spans * size for i in chosen]
    taken = [(*(dot - 0.05), *(dot + 0.05)) for dot in dots]
    for place, dot in zip(chosen, dots, strict=True):
        width = text_width(names[place], 7.5)
        box, far = _free_box(dot, width, taken)
        taken.append(box)
        at = np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2]) / size * spans + corner
        axes.annotate(
            names[place],
            (means[place], effects[place]),
            xytext=tuple(at),
            size=7.5,
            ha="center",
            va="center",
            zorder=4,
            arrowprops={"arrowstyle": "-", "color": "#888888", "linewidth": 0.6} if far else None,
        )


def _free_box(dot: np.ndarray, width: float, taken: list[tuple]) -> tuple[tuple, bool]:
    """A label's box in inches near `dot`, and whether it is so far that it needs a line."""
    high = 0.13
    first = None
    for gap in (0.07, 0.17, 0.3, 0.45, 0.6):
        for across, up in ((1, 0), (-1, 0), (1, -1), (1, 1), (-1, -1), (-1, 1), (0, 1), (0, -1)):
            x = dot[0] + across * (gap + width / 2)
            y = dot[1] + up * (gap + high / 2)
            box = (x - width / 2, y - high / 2, x + width / 2, y + high / 2)
            first = first or box
            inside = box[0] > 0 and box[1] > 0 and box[2] < WIDTH and box[3] < HEIGHT
            if inside and not any(_overlap(box, other) for other in taken):
                return box, gap > 0.1
    return first, False


def _overlap(one: tuple, other: tuple) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _with_room(values: np.ndarray) -> tuple[float, float]:
    if not values.size:
        return -1.0, 1.0
    low, high = float(values.min()), float(values.max())
    room = 0.07 * (high - low) or 0.5
    return low - room, high + room
