"""Where in depth heads with a score sit, in one model: heads, profile, null, lags.

For every attention score with a null: a map of all heads' excess over it, the layer profile with
its bootstrap interval and shape, the profile against the null's bands, and the profile by lag.
"""

import numpy as np

from mechsweep_analysis.figures.colour_grid import draw_grid
from mechsweep_analysis.figures.frame import Context, Drawing, settings
from mechsweep_analysis.json_text import as_json
from mechsweep_analysis.render import file_name
from mechsweep_analysis.studies import profile_figures
from mechsweep_analysis.studies.lag_split import draw_lags
from mechsweep_analysis.studies.product import Product, Source, figure_file, head_names
from mechsweep_analysis.studies.profile_data import (
    Profile,
    by_score,
    profiles_of,
    shape_numbers,
)
from mechsweep_analysis.style import count, show
from mechsweep_analysis.summary import Metric
from mechsweep_analysis.top_table import top_five

FALSE_SHARE = 0.05  # of the heads that are marked, by Benjamini and Hochberg


def make(source: Source) -> list[Product]:
    return [_product(profiles) for profiles in by_score(profiles_of(source)).values()]


def _product(profiles: list[Profile]) -> Product:
    first = profiles[0]
    run, score, source = first.run, first.score, first.source
    drawings = {
        "topology_heads": _draw_heads(first),
        "topology_profile": profile_figures.draw_profile(profiles),
        "topology_null": profile_figures.draw_null(profiles),
        "topology_lags": draw_lags(first),
    }
    figures = [
        figure_file(file_name(run.run_id, score, name), drawing, source.options)
        for name, drawing in drawings.items()
        if drawing is not None
    ]
    name = file_name(run.run_id, score, "topology")
    numbers = {
        "run_id": run.run_id,
        "score": score,
        "model": run.model,
        "prompts": run.prompts,
        "n_prompts": run.numbers["n_prompts"],
        "null_draws": run.attributes.get("null_draws"),
        "interval": first.interval_kind,
        "heads": _head_numbers(first),
        "profiles": [shape_numbers(profile) for profile in profiles],
    }
    layers = [_layer_numbers(profile) for profile in profiles]
    return Product(
        name=name,
        title=f"Depth of heads with {score}: {run.model} on {run.prompts}",
        said=" ".join(sentence(profile) for profile in profiles),
        numbers=numbers,
        figures=figures,
        documents={f"{name}.json": as_json(numbers | {"by_layer": layers})},
    )


def sentence(profile: Profile) -> str:
    """Peak, centroid and width in words."""
    shape, score = profile.shape, profile.score
    start = f"{score}, {profile.heads}:"
    if not np.isfinite(profile.number("peak_layer")):
        return f"{start} no peak."
    layer = f"{profile.number('peak_layer'):.0f}"
    depth = show(profile.number("peak_depth"), 2)
    centre = show(profile.number("peak_centre_depth"), 2)
    said = (
        f"{start} peak at layer {layer} (l/L {depth}, (l+½)/L {centre}), value "
        f"{show(profile.number('peak_value'))}"
    )
    if profile.is_set("inside_null"):
        return f"{said}, inside the null: no bandwidth."
    parts = [f"{said}, outside the simultaneous band"]
    if "centroid_centre_depth" in shape:
        parts.append(f"centroid {with_interval(profile, 'centroid_centre_depth')}")
    if np.isfinite(profile.number("bandwidth")):
        clipped = (
            " (clipped: it reaches an end of the network)" if profile.is_set("clipped") else ""
        )
        parts.append(f"bandwidth {with_interval(profile, 'bandwidth')} of the depth{clipped}")
    return "; ".join(parts) + "."


def with_interval(profile: Profile, name: str) -> str:
    """`0.583 [0.57, 0.60]`."""
    one = profile.shape[name]
    if not (np.isfinite(one.low) and np.isfinite(one.high)):
        return show(one.value)
    return f"{show(one.value)} [{show(one.low)}, {show(one.high)}]"


def _excess(profile: Profile) -> Metric | None:
    """[layer, head] above the null; the score itself where the file has no such metric."""
    metrics = profile.run.metrics
    for name in (f"{profile.score}_excess", f"{profile.score}_matched", profile.score):
        if name in metrics and set(metrics[name].axis_names) == {"layer", "head"}:
            return metrics[name].ordered(("layer", "head"))
    return None


def _called(metric: Metric) -> np.ndarray | None:
    """[layer, head]: heads above the null at this share of false findings; None: not tested."""
    if "q_value" not in metric.arrays:
        return None
    return (metric.arrays["q_value"] < FALSE_SHARE) & (metric.mean > 0)


def _head_numbers(profile: Profile) -> dict:
    metric = _excess(profile)
    if metric is None:
        return {}
    called = _called(metric)
    numbers = {"metric": metric.name, "top_five": top_five(profile.run, metric)}
    if called is not None:
        names = np.array(head_names(metric))
        order = np.argsort(-metric.mean.ravel(), kind="stable")
        numbers["above_null"] = [str(names[i]) for i in order if called.ravel()[i]]
    return numbers


def _layer_numbers(profile: Profile) -> dict:
    low, high = profile.metric.interval(profile.interval_kind)
    columns = {
        "layer": list(profile.metric.axes[0].values),
        "depth": profile.depths.tolist(),
        "mean": profile.metric.mean.tolist(),
        "interval_low": low.tolist(),
        "interval_high": high.tolist(),
    }
    known = ("mean", "prompts", "clusters", "non_finite", "standard_error")
    for name, values in profile.metric.arrays.items():
        if name not in known and not name.startswith(("bca_", "percentile_")):
            columns[name] = values.tolist()
    return {"heads": profile.heads, **columns}


def _draw_heads(profile: Profile) -> Drawing | None:
    metric = _excess(profile)
    if metric is None:
        return None
    run = profile.run
    called = _called(metric)
    notes = [f"Top five: {top_five(run, metric)}."]
    caption = f"Heat map of {metric.long_name} of {metric.mean.size} heads. {notes[0]}"
    if called is not None:
        marked = (
            f"Dots: {count(int(called.sum()), 'head')} above the null with q below {FALSE_SHARE:g} "
            "(Benjamini and Hochberg; sign flips of clusters)."
        )
        notes.append(marked)
        caption += f" {marked}"
    context = Context(run, metric, profile.interval_kind, profile.source.options.top)
    with settings():
        drawing = draw_grid(
            context, "by layer and head", ("head", "layer"), "the tables have", caption, notes
        )
        if called is not None:
            rows, columns = np.nonzero(called)
            drawing.figure.axes[0].scatter(
                columns, rows, s=9, color="black", edgecolor="white", linewidth=0.5
            )
    return drawing
