"""How much one head's clean value brings back, prompt by prompt: a histogram and its numbers.

The head is the one whose removal costs most in a head ablation of the same file; beside it stands
the head that the patching itself puts first, which is chosen on the prompts that it is shown on.
"""

import json
import math
from dataclasses import dataclass

import numpy as np

from mechsweep_analysis.figures.frame import Body, Drawing, build_titled, settings
from mechsweep_analysis.render import file_name
from mechsweep_analysis.samples import prompt_effects
from mechsweep_analysis.studies.product import (
    Product,
    Source,
    figure_file,
    head_names,
    heads_by_operation,
    usual,
)
from mechsweep_analysis.style import base_line, show
from mechsweep_analysis.summary import Run

METRIC = "delta_loss"
WIDTH, HEIGHT = 6.2, 3.2
MOST_BINS = 40


@dataclass(frozen=True)
class Trials:
    """The improvements of one head, and why it is this head."""

    head: str
    why: str
    improvements: np.ndarray

    @property
    def numbers(self) -> dict:
        values = self.improvements
        spread = float(values.std(ddof=1)) if values.size > 1 else math.nan
        return {
            "head": self.head,
            "chosen_by": self.why,
            "n": int(values.size),
            "mean": float(values.mean()),
            "standard_deviation": spread if math.isfinite(spread) else None,
            "median": float(np.median(values)),
            "improved": int((values > 0).sum()),
        }


def make(source: Source) -> list[Product]:
    products = []
    for run in source.runs("activation_patching"):
        heads = heads_by_operation(run.metrics[METRIC]) if METRIC in run.metrics else {}
        if run.direction != "clean_to_corrupt" or "" not in heads:
            continue
        effects = prompt_effects(source.results, run, "loss")
        if effects is None or not np.isfinite(effects).any():
            continue
        names = head_names(heads[""])
        trials = _trials(source, run, names, -effects.reshape(len(effects), -1))
        if trials:
            products.append(_product(source, run, trials))
    return products


def _trials(source: Source, run: Run, names: list[str], gains: np.ndarray) -> list[Trials]:
    """Of the head that an ablation chooses, and of the one that `gains` [prompt, head] choose."""
    chosen = dict.fromkeys(_chosen_by_ablation(source, run).items())
    there = np.isfinite(gains)
    means = np.where(there, gains, 0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)
    own = names[int(np.argmax(np.where(there.any(axis=0), means, -np.inf)))]
    if own not in [head for head, _ in chosen]:
        chosen[own, "the largest mean improvement on these very prompts"] = None
    trials = []
    for head, why in chosen:
        values = gains[:, names.index(head)] if head in names else np.array([])
        values = values[np.isfinite(values)]
        if values.size:
            trials.append(Trials(head, why, values))
    return trials


def _chosen_by_ablation(source: Source, run: Run) -> dict[str, str]:
    """{head: why} by a head ablation of the same model; empty where there is none.

    One on the same prompts comes first, then one that removes heads at all positions.
    """
    fitting = []
    for other in source.runs("head_ablation"):
        heads = heads_by_operation(other.metrics[METRIC]) if METRIC in other.metrics else {}
        if other.model == run.model and heads and np.isfinite(other.metrics[METRIC].mean).any():
            fitting.append((other, heads))
    if not fitting:
        return {}

    def fit(pair):
        other = pair[0]
        return other.prompts != run.prompts, "all" not in other.attributes.get("positions", "")

    other, heads = min(fitting, key=fit)
    operation = usual(heads)
    metric = heads[operation]
    which = "the same" if other.prompts == run.prompts else "other"
    how = operation or other.attributes.get("operation", "removed")
    if not np.isfinite(metric.mean).any():
        return {}
    head = head_names(metric)[int(np.nanargmax(metric.mean))]
    return {head: f"its removal costs most in {other.run_id} ({how}), {which} prompts"}


def _product(source: Source, run: Run, trials: list[Trials]) -> Product:
    name = file_name(run.run_id, "trials")
    figures = [
        figure_file(
            file_name(run.run_id, METRIC, one.head, "histogram"), _draw(run, one), source.options
        )
        for one in trials
    ]
    numbers = {"run_id": run.run_id, "heads": [one.numbers for one in trials]}
    stored = [one.numbers | {"improvements": one.improvements.tolist()} for one in trials]
    whole = {"run_id": run.run_id, "unit": "nats", "heads": stored}
    said = " ".join(
        f"{one.head} ({one.why}): mean improvement {show(one.numbers['mean'])} nats, standard "
        f"deviation {_spread(one)}, n = {one.numbers['n']}, {one.numbers['improved']} above 0."
        for one in trials
    )
    return Product(
        name=name,
        title=f"One head's clean value in the corrupt run: {run.model} on {run.prompts}",
        said=said,
        numbers=numbers,
        figures=figures,
        documents={f"{name}.json": json.dumps(whole, indent=1) + "\n"},
    )


def _spread(one: Trials) -> str:
    value = one.numbers["standard_deviation"]
    return show(math.nan if value is None else value)


def _edges(values: np.ndarray) -> np.ndarray:
    """Edges of equal bins (Freedman and Diaconis 1981), one of them at 0."""
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    if high - low < 1e-9:
        return np.linspace(-0.5, 0.5, 11)
    width = np.diff(np.histogram_bin_edges(values, bins="fd"))[:1]
    wide = max(float(width[0]) if width.size else 0.0, (high - low) / MOST_BINS)
    first, last = math.floor(low / wide), math.ceil(high / wide)
    return np.arange(first, max(last, first + 1) + 1) * wide


def _draw(run: Run, one: Trials) -> Drawing:
    numbers = one.numbers
    mean = numbers["mean"]
    title = f"Improvement of the loss by {one.head}'s clean value: {run.model} on {run.prompts}"
    estimand = run.attributes.get("estimand") or run.run_id
    subtitle = (
        f"{run.run_id}: {estimand}. {one.head}: {one.why}. Base run here: the corrupt one. "
        f"n = {numbers['n']} prompts, mean {show(mean)}, standard deviation {_spread(one)} nats; "
        f"{numbers['improved']} improve."
    )
    body = Body(what="", width=WIDTH, height=HEIGHT, left=0.75)
    footer = "Right of 0 the answer became likelier. " + base_line(run).replace("Base", "Clean", 1)
    with settings():
        figure, axes = build_titled(title, subtitle, footer, body, run)
        axes.hist(one.improvements, bins=_edges(one.improvements), color="#7da7cf", edgecolor="w")
        axes.axvline(0, color="black", linewidth=0.9)
        axes.axvline(mean, color="#b2182b", linewidth=1.6, label=f"mean {show(mean)}")
        axes.set_xlabel("improvement of the loss on the answer, corrupt − patched (nats)", size=9)
        axes.set_ylabel("prompts", size=9)
        axes.yaxis.get_major_locator().set_params(integer=True)
        axes.grid(axis="y", color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.legend(fontsize=8, frameon=False)
    caption = (
        f"Histogram over {numbers['n']} prompts of how much the loss on the answer falls when "
        f"{one.head}'s clean value is pasted into the corrupt run: mean {show(mean)} nats, "
        f"standard deviation {_spread(one)}."
    )
    return Drawing(figure, caption)
