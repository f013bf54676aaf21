"""Figures of the layer profile of one run: its interval and shape, and its null."""

import numpy as np
from matplotlib.axes import Axes

from mechsweep_analysis.figures.frame import Drawing, settings
from mechsweep_analysis.studies.panels import (
    NULL,
    PERMUTED,
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

COLOURS = (PLAIN, SECOND)
WIDTH, HEIGHT = 4.6, 3.1


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def _where(profile: Profile) -> str:
    return f"{profile.run.model} on {profile.run.prompts}"


def _estimand(profile: Profile) -> str:
    run = profile.run
    estimand = run.attributes.get("estimand", "")
    return f"{run.run_id}: {estimand}" if estimand else run.run_id


def draw_profile(profiles: list[Profile]) -> Drawing:
    """A panel for each choice of heads: mean with interval, peak, centroid and width."""
    first = profiles[0]
    words = Words(
        title=f"Layer profile of {first.score}: {_where(first)}",
        subtitle=f"{_estimand(first)}. {sample_line(first.run, first.metric)}. Band: "
        f"{interval_words(first.run, first.interval_kind)}. Baseline: median of the null. Bar: "
        "contiguous layers above half of the peak's excess over it.",
        footer=" ".join(_shape_words(profile) for profile in profiles)
        + " Top heads chosen on the prompts that they are shown on would be flattered; how they "
        "are chosen is in the run's definitions. " + first.base,
    )
    sheet = Sheet(columns=len(profiles), width=WIDTH, height=HEIGHT)
    with settings():
        figure, panels = draw_panels(words, sheet, first.run)
        for axes, profile, colour in zip(panels[0], profiles, COLOURS, strict=False):
            _profile_panel(axes, profile, colour)
        panels[0, 0].set_ylabel(f"{first.score} score (share of attention)", size=9)
    peaks = "; ".join(_shape_words(profile) for profile in profiles)
    caption = (
        f"Layer profile of {first.score} over relative depth, {_where(first)}, "
        f"{sample_line(first.run, first.metric)}, band: "
        f"{interval_words(first.run, first.interval_kind)}. {peaks}"
    )
    return Drawing(figure, caption)


def _profile_panel(axes: Axes, profile: Profile, colour: str) -> None:
    low, high = profile.metric.interval(profile.interval_kind)
    depths, means = profile.depths, profile.metric.mean
    curve(axes, depths, means, low, high, color=colour, marker="o", label=profile.heads)
    axes.plot(
        depths, profile.column("null_median"), color=NULL, linewidth=1, linestyle="--",
        label="null (median)",
    )  # fmt: skip
    axes.set_ylim(min(0.0, float(np.nanmin(low, initial=0.0))), _ceiling(profile))
    _mark_shape(axes, profile, colour)
    depth_axis(axes)
    axes.set_title(_capital(profile.heads), size=9)
    axes.legend(fontsize=7.5, frameon=False, loc="upper left")


def _ceiling(profile: Profile, *more: np.ndarray) -> float:
    _, high = profile.metric.interval(profile.interval_kind)
    largest = max(
        float(np.nanmax(values, initial=0.0)) for values in (high, profile.metric.mean, *more)
    )
    return 1.3 * largest if largest > 0 else 1.0


def _mark_shape(axes: Axes, profile: Profile, colour: str) -> None:
    """A triangle over the peak, a bar over the width, a dot with its interval at the centroid."""
    top = axes.get_ylim()[1]
    peak = profile.number("peak_centre_depth")
    if np.isfinite(peak):
        axes.plot(
            peak, profile.number("peak_value") + 0.035 * top, "v", color=colour, markersize=6,
            label="peak",
        )  # fmt: skip
    left, right = profile.number("left_centre_depth"), profile.number("right_centre_depth")
    row = 0.045 * top
    if np.isfinite(left) and np.isfinite(right) and not profile.is_set("inside_null"):
        axes.hlines(row, left, right, color=colour, linewidth=5, alpha=0.35, label="bandwidth")
    centroid = profile.shape.get("centroid_centre_depth")
    if centroid is not None and np.isfinite(centroid.value):
        if np.isfinite(centroid.low) and np.isfinite(centroid.high):
            axes.hlines(row, centroid.low, centroid.high, color="black", linewidth=1.2)
        axes.plot(centroid.value, row, "o", color="black", markersize=4, label="centroid")


def _shape_words(profile: Profile) -> str:
    peak = profile.number("peak_centre_depth")
    if not np.isfinite(peak):
        return f"{_capital(profile.heads)}: no peak."
    parts = [f"peak at (l+½)/L {show(peak, 2)}"]
    if profile.is_set("inside_null"):
        parts.append("inside the null, so no bandwidth")
    else:
        parts.append(f"centroid {show(profile.number('centroid_centre_depth'), 2)}")
        clipped = ", clipped by the network's end" if profile.is_set("clipped") else ""
        parts.append(f"bandwidth {show(profile.number('bandwidth'))}{clipped}")
    return f"{_capital(profile.heads)}: {'; '.join(parts)}."


def draw_null(profiles: list[Profile]) -> Drawing:
    """A panel for each choice of heads: the profile against pointwise and simultaneous bands."""
    first = profiles[0]
    draws = first.run.attributes.get("null_draws", "the")
    level = first.run.numbers["level"]
    share = f"central {100 * level:g} %" if np.isfinite(level) else "central share"
    words = Words(
        title=f"Layer profile of {first.score} against its null: {_where(first)}",
        subtitle=f"{_estimand(first)}. {sample_line(first.run, first.metric)}. Null: the same at "
        f"shuffled sources of matched lags, {draws} draws; bands: {share}, pointwise and of all "
        "layers together.",
        footer=" ".join(_test_words(profile) for profile in profiles)
        + " A layer named beforehand is compared with the pointwise band, a peak found by looking "
        "with the simultaneous one. " + first.base,
    )
    sheet = Sheet(columns=len(profiles), width=WIDTH, height=HEIGHT)
    with settings():
        figure, panels = draw_panels(words, sheet, first.run)
        for axes, profile, colour in zip(panels[0], profiles, COLOURS, strict=False):
            _null_panel(axes, profile, colour)
        panels[0, 0].set_ylabel(f"{first.score} score (share of attention)", size=9)
    caption = (
        f"Layer profile of {first.score} against the pointwise and simultaneous null band, "
        f"{_where(first)}, {sample_line(first.run, first.metric)}, {draws} null draws. "
        + " ".join(_test_words(profile) for profile in profiles)
    )
    return Drawing(figure, caption)


def _null_panel(axes: Axes, profile: Profile, colour: str) -> None:
    depths = profile.depths
    for name, alpha, label in (
        ("null_simultaneous", 0.22, "null, all layers together"),
        ("null", 0.45, "null, each layer"),
    ):
        axes.fill_between(
            depths, profile.column(f"{name}_lower"), profile.column(f"{name}_upper"), color=NULL,
            alpha=alpha, linewidth=0, label=label,
        )  # fmt: skip
    # The bands can be thinner than a line.
    axes.plot(depths, profile.column("null_median"), color=NULL, linewidth=0.7)
    permuted = profile.column("permuted_simultaneous_upper")
    if np.isfinite(permuted).any():
        axes.plot(
            depths, permuted, color=PERMUTED, linewidth=1.1, linestyle=":",
            label="permuted heads, upper bound",
        )  # fmt: skip
    axes.plot(
        depths, profile.metric.mean, color=colour, linewidth=1.4, marker="o", markersize=3.2,
        label=profile.heads,
    )  # fmt: skip
    bounds = [profile.column(f"null_simultaneous_{end}") for end in ("lower", "upper")]
    finite = [values[np.isfinite(values)] for values in (*bounds, permuted)]
    lowest = min(0.0, float(np.min(finite[0], initial=0.0)))
    axes.set_ylim(lowest, _ceiling(profile, *finite[1:]))
    depth_axis(axes)
    axes.set_title(_capital(profile.heads), size=9)
    axes.legend(fontsize=7.5, frameon=False, loc="upper left")


def _test_words(profile: Profile) -> str:
    peak = profile.number("peak_layer")
    if not np.isfinite(peak):
        return f"{_capital(profile.heads)}: no peak."
    outside = "inside" if profile.is_set("inside_null") else "outside"
    said = f"{_capital(profile.heads)}: peak at layer {peak:.0f}, {outside} the simultaneous band"
    for name, what in (("peak_p_value", "null draws"), ("permutation_p_value", "permuted heads")):
        value = profile.number(name)
        if np.isfinite(value):
            said += f", p = {show(value)} ({what})"
    return f"{said}."
