"""Layer profiles of several models over relative depth: do heads sit at a stable depth?"""

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from mechsweep_analysis.figures.frame import Drawing, settings, text_width
from mechsweep_analysis.render import file_name
from mechsweep_analysis.studies.family import parameters
from mechsweep_analysis.studies.panels import (
    Sheet,
    Words,
    curve,
    depth_axis,
    draw_panels,
    style,
    warnings_of,
)
from mechsweep_analysis.studies.product import Product, Source, csv_text, figure_file
from mechsweep_analysis.studies.profile_data import (
    Profile,
    Quantity,
    profiles_of,
    shape_numbers,
)
from mechsweep_analysis.style import count, interval_words, show

COLUMNS = (
    "peak_layer",
    "peak_depth",
    "peak_centre_depth",
    "peak_value",
    "centroid_centre_depth",
    "bandwidth",
    "clipped",
    "inside_null",
    "peak_p_value",
)


@dataclass(frozen=True, eq=False)
class Member:
    """One model's profile."""

    label: str
    profile: Profile
    parameters: float  # NaN where the file does not say


def make(sources: list[Source]) -> list[Product]:
    """One product for each profile that at least two models have under the same names."""
    groups: dict[tuple[str, str, str, bool], list[Member]] = {}
    for source in sources:
        for profile in profiles_of(source):
            run = profile.run
            key = (run.experiment, run.prompts, profile.score, profile.is_top)
            members = groups.setdefault(key, [])
            members.append(_member(source, profile, members))
    options = sources[0].options
    return [_product(key, members, options) for key, members in groups.items() if len(members) > 1]


def _member(source: Source, profile: Profile, others: list[Member]) -> Member:
    model = profile.run.model
    known = [other.label for other in others]
    file = source.summary.path.name.removesuffix(".summary.h5")
    label = model if model not in known else f"{model} ({file})"
    while label in known:
        label += "'"
    return Member(label, profile, parameters(source.summary.models.get(model, {})))


def _product(key: tuple[str, str, str, bool], members: list[Member], options) -> Product:
    experiment, prompts, score, is_top = key
    members = sorted(members, key=lambda one: (one.parameters, one.label))
    heads = members[0].profile.heads
    name = file_name(experiment, prompts, score, "topology_top_sizes" if is_top else
                     "topology_sizes")  # fmt: skip
    header = ["model", "layers", "peak at l/L", "(l+½)/L", "centroid", "bandwidth", "clipped",
              "p of the peak"]  # fmt: skip
    return Product(
        name=name,
        title=f"{score} over relative depth in {count(len(members), 'model')}: {experiment} on "
        f"{prompts}, {heads}",
        said="A depth is stable where the intervals of the centroids overlap; peaks move in steps "
        "of 1 / layers. A bandwidth that is clipped may be wider than the network shows it; a peak "
        "inside its null has none.",
        numbers={
            "experiment": experiment,
            "prompts": prompts,
            "score": score,
            "models": [{"model": one.label, **shape_numbers(one.profile)} for one in members],
        },
        figures=[figure_file(name, _draw(members, f"{experiment}, prompts {prompts}"), options)],
        documents={f"{name}.csv": _table(members)},
        header=header,
        rows=[_row(one) for one in members],
    )


def _table(members: list[Member]) -> str:
    columns = ["model", "parameters", "layers"]
    rows = [[one.label, one.parameters, one.profile.layers] for one in members]
    for name in COLUMNS:
        columns += [name, f"{name}_low", f"{name}_high"]
        for row, one in zip(rows, members, strict=True):
            number = one.profile.shape.get(name, Quantity())
            row += [number.value, number.low, number.high]
    return csv_text(columns, rows)


def _row(member: Member) -> list:
    profile = member.profile
    clipped = "yes" if profile.is_set("clipped") else "no"
    return [
        member.label,
        profile.layers,
        _cell(profile, "peak_depth"),
        _cell(profile, "peak_centre_depth"),
        _cell(profile, "centroid_centre_depth"),
        "none: inside the null" if profile.is_set("inside_null") else _cell(profile, "bandwidth"),
        "–" if profile.is_set("inside_null") else clipped,
        show(profile.number("peak_p_value")),
    ]


def _cell(profile: Profile, name: str) -> str:
    one = profile.shape.get(name, Quantity())
    if not (np.isfinite(one.low) and np.isfinite(one.high)):
        return show(one.value)
    return f"{show(one.value)} [{show(one.low)}, {show(one.high)}]"


def _draw(members: list[Member], where: str) -> Drawing:
    first = members[0].profile
    score = first.score
    prompts = sorted({int(one.profile.metric.arrays["prompts"].max()) for one in members})
    bases = " ".join(
        f"{one.label}: {one.profile.base.removeprefix('Base run: ')}" for one in members
    )
    words = Words(
        title=f"Layer profile of {score} over relative depth: {count(len(members), 'model')}",
        subtitle=f"{where}; {first.heads}; means over {' or '.join(map(str, prompts))} prompts. "
        "Left: profiles. Right: excess over each model's null median, its peak put to 1. Below: "
        "bars: bandwidth (hatched where clipped); dots: centroid; triangles: peak. Bands and "
        f"lines: {interval_words(first.run, first.interval_kind)}.",
        footer=f"Base runs. {bases}" + warnings_of({m.label: m.profile.run for m in members}),
    )
    widest = max(text_width(one.label, 8) for one in members)
    sheet = Sheet(
        rows=2, columns=2, width=4.3, height=2.8, left=max(0.8, widest + 0.35), above=0.05,
        last=0.4 * len(members) + 0.2,
    )  # fmt: skip
    with settings():
        figure, panels = draw_panels(words, sheet)
        for place, member in enumerate(members):
            _curves(panels[0], place, member)
        panels[0, 0].set_ylabel(f"{score} score (share of attention)", size=9)
        panels[0, 1].set_ylabel("excess over the null, of the peak's", size=9)
        panels[0, 0].legend(fontsize=7.5, frameon=False, loc="upper left")
        for axes in panels[0]:
            axes.axhline(0, color="#555555", linewidth=0.8, linestyle="--")
            depth_axis(axes)
        strip = _strip_of(panels[1])
        for place, member in enumerate(members):
            _shape(strip, place, member)
        strip.set_yticks(range(len(members)), [one.label for one in members])
        strip.set_ylim(len(members) - 0.5, -0.5)
    said = "; ".join(
        f"{one.label} peak {show(one.profile.number('peak_centre_depth'), 2)}, centroid "
        f"{show(one.profile.number('centroid_centre_depth'), 2)}, bandwidth "
        f"{show(one.profile.number('bandwidth'))}"
        for one in members
    )
    return Drawing(figure, f"Layer profiles of {score} over relative depth, {first.heads}: {said}.")


def _curves(panels: np.ndarray, place: int, member: Member) -> None:
    profile = member.profile
    low, high = profile.metric.interval(profile.interval_kind)
    looks = style(place)
    curve(panels[0], profile.depths, profile.metric.mean, low, high, label=member.label, **looks)
    base = profile.column("null_median")
    peak = profile.number("peak_excess")
    if np.isfinite(peak) and peak > 0:
        excess = (profile.metric.mean - base) / peak
        panels[1].plot(profile.depths, excess, linewidth=1.4, markersize=3.2, **looks)


def _strip_of(panels: np.ndarray) -> Axes:
    """One wide panel in the place of the two."""
    left, right = (axes.get_position() for axes in panels)
    axes = panels[0]
    axes.set_position((left.x0, left.y0, right.x1 - left.x0, left.height))
    panels[1].remove()
    depth_axis(axes)
    return axes


def _shape(axes: Axes, place: int, member: Member) -> None:
    profile, looks = member.profile, style(place)
    left, right = profile.number("left_centre_depth"), profile.number("right_centre_depth")
    if np.isfinite(left) and np.isfinite(right) and not profile.is_set("inside_null"):
        hatch = "////" if profile.is_set("clipped") else None
        axes.barh(
            place, right - left, left=left, height=0.5, color=looks["color"], alpha=0.35,
            hatch=hatch, edgecolor=looks["color"], linewidth=0.8,
        )  # fmt: skip
    for name, marker, offset in (
        ("centroid_centre_depth", "o", 0.1),
        ("peak_centre_depth", "v", -0.15),
    ):
        one = profile.shape.get(name, Quantity())
        if np.isfinite(one.low) and np.isfinite(one.high):
            axes.hlines(place + offset, one.low, one.high, color="black", linewidth=1.1)
        if np.isfinite(one.value):
            axes.plot(one.value, place + offset, marker, color="black", markersize=4.5)
    if profile.is_set("inside_null"):
        axes.text(0.99, place, "peak inside the null", size=7.5, ha="right", va="center")
