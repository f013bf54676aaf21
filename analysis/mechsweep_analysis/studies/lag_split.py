"""A score's layer profile by lag: short and long copies, and every lag apart."""

import matplotlib
import numpy as np
from matplotlib.axes import Axes

from mechsweep_analysis.figures.frame import Drawing, settings
from mechsweep_analysis.studies.panels import (
    PLAIN,
    SECOND,
    Sheet,
    Words,
    curve,
    depth_axis,
    draw_panels,
)
from mechsweep_analysis.studies.profile_data import Profile
from mechsweep_analysis.style import interval_words, sample_line, show
from mechsweep_analysis.summary import Metric

ENDINGS = {"lag_range": "_by_lag_range_layer_profile", "lag": "_by_lag_layer_profile"}
TITLES = {"lag_range": "Short and long copies", "lag": "Every lag"}

_OUTSIDE = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)}  # of the panel on the right


def lag_profiles(profile: Profile) -> dict[str, Metric]:
    """{axis: metric [layer, axis]} of those that the file has."""
    found = {}
    for axis, ending in ENDINGS.items():
        metric = profile.run.metrics.get(profile.score + ending)
        if metric is not None and set(metric.axis_names) == {"layer", axis}:
            found[axis] = metric.ordered(("layer", axis))
    return found


def peaks(profile: Profile, metric: Metric) -> list[dict]:
    """The layer with the largest mean at each lag; none where there is no value."""
    rows = []
    for place, label in enumerate(metric.axes[1].values):
        means = metric.mean[:, place]
        if np.isfinite(means).any():
            layer = int(np.nanargmax(means))
            rows.append(
                {
                    "lag": label,
                    "peak_layer": metric.axes[0].values[layer],
                    "peak_centre_depth": float(profile.depths[layer]),
                    "peak_value": float(means[layer]),
                    "prompts": int(metric.arrays["prompts"][layer, place]),
                }
            )
    return rows


def draw_lags(profile: Profile) -> Drawing | None:
    """Panels: lags up to and above the split, and each lag. None where scores have no lags."""
    metrics = lag_profiles(profile)
    if not metrics:
        return None
    run = profile.run
    found = {axis: peaks(profile, metric) for axis, metric in metrics.items()}
    said = "; ".join(
        f"{_label(axis, row['lag'])}: layer {row['peak_layer']}, {show(row['peak_value'])}"
        for axis, rows in found.items()
        for row in rows
    )
    first = next(iter(metrics.values()))
    interval = interval_words(run, profile.interval_kind)
    estimand = run.attributes.get("estimand", "")
    words = Words(
        title=f"Layer profile of {profile.score} by lag: {run.model} on {run.prompts}",
        subtitle=f"{run.run_id}: {estimand}. Mean over heads; {sample_line(run, first)}. "
        f"Bands: {interval}. Lag: query minus source, in tokens.",
        footer=f"Peaks: {said}. {_without(metrics)}{profile.base}",
    )
    sheet = Sheet(columns=len(metrics), width=4.6, height=3.1, right=1.0)
    with settings():
        figure, panels = draw_panels(words, sheet, run)
        for axes, (axis, metric) in zip(panels[0], metrics.items(), strict=True):
            _panel(axes, profile, axis, metric)
        panels[0, 0].set_ylabel(f"{profile.score} score (share of attention)", size=9)
    caption = (
        f"Layer profile of {profile.score} by lag over relative depth, {run.model} on "
        f"{run.prompts}, {sample_line(run, first)}, {interval}. Peaks: {said}."
    )
    return Drawing(figure, caption)


def _label(axis: str, value) -> str:
    return f"lag {value}" if axis == "lag" else f"lags {value}"


def _without(metrics: dict[str, Metric]) -> str:
    missing = [
        _label(axis, value)
        for axis, metric in metrics.items()
        for place, value in enumerate(metric.axes[1].values)
        if not np.isfinite(metric.mean[:, place]).any()
    ]
    return f"No query counts at {', '.join(missing)}. " if missing else ""


def _panel(axes: Axes, profile: Profile, axis: str, metric: Metric) -> None:
    low, high = metric.interval(profile.interval_kind)
    values = metric.axes[1].values
    shown = [place for place in range(len(values)) if np.isfinite(metric.mean[:, place]).any()]
    ramp = matplotlib.colormaps["viridis"]
    for number, place in enumerate(shown):
        colour = ramp(0.9 * number / max(len(shown) - 1, 1))
        if axis == "lag_range":
            colour = (PLAIN, SECOND)[place % 2]
        means, ends = metric.mean[:, place], (low[:, place], high[:, place])
        curve(
            axes, profile.depths, means, *ends, color=colour, marker="o", markersize=2.6,
            label=_label(axis, values[place]),
        )  # fmt: skip
    axes.set_ylim(bottom=min(0.0, float(np.nanmin(low, initial=0.0))))
    depth_axis(axes)
    axes.set_title(TITLES[axis], size=9)
    if shown:
        axes.legend(fontsize=7.5, frameon=False, **_OUTSIDE if axis == "lag" else {})
