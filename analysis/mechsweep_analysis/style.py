"""How a metric is to be read: its scale, which end of it matters, and how numbers are written."""

import enum
import math

import numpy as np

from mechsweep_analysis.summary import Metric, Run

LAYER_PROFILE = "_layer_profile"
LONGEST_LABEL = 70  # characters
# Metrics of which a fall, not a rise, means that the model does worse.
BETTER_WHEN_LARGER = ("margin", "correct", "accuracy", "logit", "answer_logit", "logit_0")
# What is read off a run before anything is compared.
READINGS = ("base_", "donor_", "loss", "margin", "logit_")
LOSS_LIKE = ("loss", "margin", "correct", "accuracy", "kl", "answer_rank", "logit")


class Scale(enum.Enum):
    """What the colours of a metric mean."""

    EFFECT = "effect"  # zero is nothing: diverging, symmetric about 0
    SHARE = "share"  # 0 is nothing and 1 is everything: sequential, 0 to 1
    LEVEL = "level"  # no special value: sequential over the data's range


def plain_name(metric: Metric) -> str:
    return metric.name.removesuffix(LAYER_PROFILE)


def scale_of(run: Run, metric: Metric) -> Scale:
    name = plain_name(metric)
    if name.startswith("recovery_"):
        return Scale.SHARE
    if name.startswith("delta_") or name.endswith(("margin", "_excess")):
        return Scale.EFFECT
    is_score = run.kind == "attention_scores" and not name.startswith(("base_", *LOSS_LIKE))
    if is_score:
        return Scale.SHARE
    finite = metric.mean[np.isfinite(metric.mean)]
    return Scale.EFFECT if finite.size and finite.min() < 0 else Scale.LEVEL


def limits(scale: Scale, values: np.ndarray) -> tuple[float, float]:
    """Lower and upper end of the colours for these values; NaN and infinities do not count."""
    finite = values[np.isfinite(values)]
    if scale is Scale.SHARE:
        return 0.0, 1.0
    if scale is Scale.EFFECT:
        largest = float(np.abs(finite).max()) if finite.size else 0.0
        return (-largest, largest) if largest > 0 else (-1.0, 1.0)
    if not finite.size:
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def strongest_first(run: Run, metric: Metric) -> int:
    """1 when the largest mean is the strongest effect, -1 when the smallest is.

    An ablation hurts where the loss rises or the margin falls; pasting the clean value into the
    corrupt run helps where the loss falls or the margin rises.
    """
    name = plain_name(metric)
    if not name.startswith("delta_"):
        return 1
    sign = -1 if name.removeprefix("delta_") in BETTER_WHEN_LARGER else 1
    helps = run.kind == "activation_patching" and run.direction == "clean_to_corrupt"
    return -sign if helps else sign


def is_headline(run: Run, metric: Metric) -> bool:
    """Whether the metric answers the question, unlike the loss beside its change."""
    if run.kind == "attention_scores":
        return "offset" not in metric.axis_names
    return not metric.name.startswith(READINGS)


def quantity(metric: Metric) -> str:
    """The label of an axis or colour bar: what and in which units."""
    name = metric.long_name if len(metric.long_name) <= LONGEST_LABEL else metric.name
    return name if metric.units in ("", "1") else f"{name} ({metric.units})"


def show(value: float, digits: int = 3) -> str:
    """A number for people, with a true minus sign; an en dash where there is none.

    `digits` decimals from 1 on, so many significant digits below, powers of ten below 0.0001.
    """
    if not math.isfinite(value):
        return "–"
    magnitude = abs(value)
    if value == 0:
        return "0"
    if magnitude >= 1000:
        shown = f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    elif magnitude >= 1:
        shown = f"{value:.{digits}f}"
    elif magnitude >= 1e-4:
        shown = f"{value:.{digits - 1 - math.floor(math.log10(magnitude))}f}"
    else:
        shown = f"{value:.1e}"
    return shown.replace("-", "−")


def percent(value: float) -> str:
    return f"{100 * value:.1f} %" if math.isfinite(value) else "–"


def count(value: float, one: str) -> str:
    """`3 prompts`, `1 prompt`, or `unknown number of prompts`."""
    if not math.isfinite(value):
        return f"unknown number of {one}s"
    return f"{value:.0f} {one}" + ("" if value == 1 else "s")


def base_line(run: Run) -> str:
    """How well the model does the task without an edit, and what chance would give."""
    loss, accuracy = run.numbers["base_loss"], run.numbers["base_accuracy"]
    if math.isnan(loss) and math.isnan(accuracy):
        return "Base run: not scored."
    numbers = run.numbers
    parts = [
        f"loss {show(loss)} nats (chance {show(numbers['chance_loss'])})",
        f"accuracy {percent(accuracy)} (chance {percent(numbers['chance_accuracy'])})",
    ]
    if math.isfinite(numbers["candidate_accuracy"]):
        parts.append(f"among the tracked answers {percent(numbers['candidate_accuracy'])}")
    return "Base run: " + ", ".join(parts) + "."


def sample_line(run: Run, metric: Metric) -> str:
    """How many prompts and clusters a mean is over."""
    parts = []
    for statistic, attribute in (("prompts", "n_prompts"), ("clusters", "n_clusters")):
        values = metric.arrays[statistic]
        low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
        if low == high:
            parts.append(count(high, statistic[:-1]))
        else:
            parts.append(f"{low} to {high} {statistic} per cell")
        total = run.numbers[attribute]
        if math.isfinite(total) and total != high:
            parts[-1] += f" (of {total:.0f})"
    return " in ".join(parts)


def interval_words(run: Run, kind: str) -> str:
    """`95 % BCa intervals, 10000 bootstrap resamples`."""
    level, resamples = run.numbers["level"], run.numbers["resamples"]
    name = "BCa" if kind == "bca" else "percentile"
    shown = f"{100 * level:g} % " if math.isfinite(level) else ""
    ending = f", {resamples:.0f} bootstrap resamples" if math.isfinite(resamples) else ""
    return f"{shown}{name} intervals{ending}"
