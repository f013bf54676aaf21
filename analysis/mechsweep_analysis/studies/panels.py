"""Several panels in one figure, with what they share: colours, the axis of depth, intervals."""

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mechsweep_analysis.figures.frame import Body, build_titled
from mechsweep_analysis.studies.family import COLOURS, MARKERS
from mechsweep_analysis.summary import Run

DEPTH = "relative depth, (layer + ½) / layers"
GRID = "#e5e5e5"
PLAIN, SECOND, NULL, PERMUTED = "#24557f", "#d55e00", "#777777", "#009e73"
DASHES = ("-", "--", ":", "-.")


@dataclass(frozen=True)
class Words:
    """What stands above and below a figure."""

    title: str
    subtitle: str
    footer: str


@dataclass(frozen=True)
class Sheet:
    """Sizes in inches: panels and the gaps between them."""

    rows: int = 1
    columns: int = 1
    width: float = 3.6
    height: float = 2.7
    across: float = 0.75
    down: float = 0.7
    left: float = 0.8
    right: float = 0.25
    bottom: float = 0.5
    above: float = 0.22  # room for titles of the first row
    last: float | None = None  # height of the last row, where it is another one

    @property
    def heights(self) -> list[float]:
        """Of every row."""
        return [self.height] * (self.rows - 1) + [self.last or self.height]


def draw_panels(words: Words, sheet: Sheet, run: Run | None = None) -> tuple[Figure, np.ndarray]:
    """A figure with header and footer, and its empty panels [row, column]; warnings are `run`'s."""
    wide = sheet.columns * sheet.width + (sheet.columns - 1) * sheet.across
    high = sum(sheet.heights) + (sheet.rows - 1) * sheet.down
    body = Body(
        what="",
        width=wide,
        height=high + sheet.above,
        left=sheet.left,
        right=sheet.right,
        bottom=sheet.bottom,
    )
    figure, whole = build_titled(words.title, words.subtitle, words.footer, body, run)
    box = whole.get_position()
    whole.remove()
    size = figure.get_size_inches()
    panels = np.empty((sheet.rows, sheet.columns), dtype=object)
    for row, column in np.ndindex(panels.shape):
        x = box.x0 * size[0] + column * (sheet.width + sheet.across)
        below = sheet.heights[row + 1 :]
        y = box.y0 * size[1] + sum(below) + len(below) * sheet.down
        place = (x / size[0], y / size[1], sheet.width / size[0], sheet.heights[row] / size[1])
        panels[row, column] = plain(figure.add_axes(place))
    return figure, panels


def warnings_of(runs: dict[str, Run]) -> str:
    """What the runs of several models warn of, by model; begins with a space where there is any."""
    said = [f"{label}: {words}" for label, run in runs.items() for words in run.warnings]
    return f" Warnings: {'; '.join(said)}." if said else ""


def plain(axes: Axes) -> Axes:
    """Small ticks, a pale grid behind the data."""
    axes.tick_params(labelsize=8)
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    return axes


def depth_axis(axes: Axes, label: bool = True) -> None:
    axes.set_xlim(0, 1)
    axes.set_xticks(np.linspace(0, 1, 6))
    if label:
        axes.set_xlabel(DEPTH, size=9)


def style(place: int) -> dict:
    """Colour and marker of the model at a place."""
    return {"color": COLOURS[place % len(COLOURS)], "marker": MARKERS[place % len(MARKERS)]}


def curve(axes: Axes, across, means, low, high, **options) -> None:
    """A line with a band; neither where there is no value."""
    colour = options.get("color", PLAIN)
    low, high = (np.asarray(end, dtype=float) for end in (low, high))
    axes.fill_between(across, low, high, color=colour, alpha=0.18, linewidth=0)
    axes.plot(across, means, **({"linewidth": 1.4, "markersize": 3.2} | options))


def reach(low: float, high: float) -> tuple[float, float]:
    """An interval for people who draw: both ends are NaN or none is."""
    return (low, high) if np.isfinite(low) and np.isfinite(high) else (np.nan, np.nan)
