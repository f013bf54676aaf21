"""A grid of coloured cells, shared by the head map and the position grid; not a figure itself."""

from collections.abc import Sequence

import matplotlib
import numpy as np

from mechsweep_analysis.figures.frame import (
    Body,
    Context,
    Drawing,
    add_colour_bar,
    build,
    number_room,
    text_width,
    tick_places,
    wrap,
)
from mechsweep_analysis.style import Scale, count, limits, quantity, scale_of, show

# Both can be told apart with any of the common colour-vision deficiencies, and in grey.
MAPS = {Scale.EFFECT: "RdBu_r", Scale.SHARE: "viridis", Scale.LEVEL: "viridis"}
MISSING = "#bdbdbd"
BELOW = "#d95f0e"
ABOVE = "#b30086"

WIDEST_CELL = 0.62
LARGEST_BODY = 12.0
MOST_NUMBERED_CELLS = 64
LABEL_SIZE = 9
# A share this little beyond 0 or 1 is noise and gets the colour of the end, not one of its own.
SLACK = 0.05


def draw_grid(
    context: Context,
    what: str,
    labels: tuple[str, str],
    where_intervals: str,
    caption: str,
    notes: Sequence[str] = (),
) -> Drawing:
    """Draws a metric [rows, columns]; `labels` are those of the columns' and the rows' axis.

    `where_intervals` says where a reader finds them: "the tables have".
    """
    metric = context.metric
    scale = scale_of(context.run, metric)
    rows, columns = metric.mean.shape
    width = _body_size(columns, 8.0, WIDEST_CELL)
    height = _body_size(rows, 7.5, max(0.45, 1.8 / rows))
    left = 0.5 + max(text_width(str(value), 8) for value in metric.axes[0].values)
    outside = _outside(scale, metric.mean)
    label = wrap(labels[0], LABEL_SIZE, max(width, 1.0))
    body = Body(
        what=what,
        width=width,
        height=height,
        left=left,
        bottom=0.38 + 0.17 * len(label),
        right=1.45,
        shown="Colour: mean over prompts; " + where_intervals + " {interval}",
        notes=[*notes, *_notes(metric.mean, outside)],
    )
    figure, axes = build(context, body)
    low, high = limits(scale, metric.mean)
    colours = matplotlib.colormaps[MAPS[scale]]
    extend = "neither"
    if outside:
        extend = {(True, True): "both", (True, False): "min", (False, True): "max"}[
            (outside[0] > 0, outside[1] > 0)
        ]
        colours = colours.with_extremes(bad=MISSING, under=BELOW, over=ABOVE)
    else:
        colours = colours.with_extremes(bad=MISSING)
    image = axes.imshow(
        np.ma.masked_invalid(_without_slack(scale, metric.mean)),
        cmap=colours,
        vmin=low,
        vmax=high,
        aspect="auto",
        interpolation="nearest",
    )
    _label(axes, metric, ("\n".join(label), labels[1]), width / columns, height / rows)
    if metric.mean.size <= MOST_NUMBERED_CELLS and width / columns >= 0.5:
        _write_numbers(axes, image, metric.mean, _without_slack(scale, metric.mean))
    add_colour_bar(figure, axes, image, quantity(metric), extend)
    return Drawing(figure, caption)


def _body_size(cells: int, whole: float, largest_cell: float) -> float:
    return min(cells * min(max(whole / cells, 0.11), largest_cell), LARGEST_BODY)


def _without_slack(scale: Scale, values: np.ndarray) -> np.ndarray:
    """The values to colour: those that are hardly beyond the range are moved to its end."""
    if scale is not Scale.SHARE:
        return values
    near = (values >= -SLACK) & (values <= 1 + SLACK)
    return np.where(near, np.clip(values, 0, 1), values)


def _outside(scale: Scale, values: np.ndarray) -> tuple[int, int] | None:
    """Numbers of cells below and above the colours' range, None when there are none."""
    coloured = _without_slack(scale, values)
    low, high = limits(scale, values)
    below, above = int((coloured < low).sum()), int((coloured > high).sum())
    return (below, above) if below or above else None


def _notes(values: np.ndarray, outside: tuple[int, int] | None) -> list[str]:
    notes = []
    if outside:
        low, high = float(np.nanmin(values)), float(np.nanmax(values))
        parts = [
            f"{count(cells, 'cell')} {where} ({colour})"
            for cells, where, colour in (
                (outside[0], f"below −{SLACK:g}", "orange"),
                (outside[1], f"above {1 + SLACK:g}", "magenta"),
            )
            if cells
        ]
        notes.append(
            f"Beyond the colours' range: {' and '.join(parts)}; the means go from {show(low)} to "
            f"{show(high)}."
        )
    missing = int((~np.isfinite(values)).sum())
    if missing:
        notes.append(f"Grey: no value ({count(missing, 'cell')}).")
    return notes


def _label(axes, metric, labels: tuple[str, str], wide: float, high: float) -> None:
    row_axis, column_axis = metric.axes
    places, words = tick_places(column_axis, wide, number_room(column_axis))
    axes.set_xticks(places, words)
    places, words = tick_places(row_axis, high, 0.14)
    axes.set_yticks(places, words)
    axes.set_xlabel(labels[0], size=LABEL_SIZE)
    axes.set_ylabel(labels[1], size=LABEL_SIZE)


def _write_numbers(axes, image, values: np.ndarray, coloured: np.ndarray) -> None:
    for (row, column), value in np.ndenumerate(coloured):
        red, green, blue, _ = image.cmap(image.norm(value)) if np.isfinite(value) else (1, 1, 1, 1)
        bright = 0.299 * red + 0.587 * green + 0.114 * blue > 0.5
        colour = "black" if bright else "white"
        axes.text(
            column, row, show(values[row, column]), ha="center", va="center", size=7.5, color=colour
        )
