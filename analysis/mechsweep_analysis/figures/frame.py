"""What all figures share: title, description, warnings, base performance, ticks and files."""

import bisect
import contextlib
import functools
import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

from mechsweep_analysis.style import base_line, interval_words, sample_line
from mechsweep_analysis.summary import Axis, Metric, Run

PNG_DPI = 150
POINTS = 72.0  # per inch
LINE_SPACING = 1.32
EDGE = 0.15  # inches between text and the figure's edge
SMALLEST_WIDTH = 6.2
GAP = 0.12

# A fixed salt and no dates make the files the same on every run.
SETTINGS = {
    "svg.hashsalt": "mechsweep",
    "font.family": ["DejaVu Sans"],
    "axes.unicode_minus": True,
    "text.parse_math": False,  # ids may hold dollar signs
    "axes.linewidth": 0.8,
}


@dataclass(frozen=True)
class Context:
    """What a figure is drawn from."""

    run: Run
    metric: Metric
    interval: str
    top: int
    where: str = ""

    def cut(self, metric: Metric, where: str) -> "Context":
        return replace(self, metric=metric, where=where)


@dataclass(frozen=True)
class Drawing:
    """A finished figure and its description in words, which is also its alternative text."""

    figure: Figure
    caption: str

    def png(self) -> bytes:
        return self._save("png", {"Software": None}, dpi=PNG_DPI)

    def svg(self) -> bytes:
        return self._save("svg", {"Date": None, "Creator": None, "Description": self.caption})

    def pdf(self) -> bytes:
        metadata = {"CreationDate": None, "Creator": None, "Producer": None}
        return self._save("pdf", metadata | {"Title": self.caption})

    def _save(self, kind: str, metadata: dict, **options) -> bytes:
        out = io.BytesIO()
        with settings():
            self.figure.savefig(out, format=kind, metadata=metadata, **options)
        return out.getvalue()


@dataclass(frozen=True)
class Body:
    """The part of a figure that differs: sizes in inches, and what the header says of it."""

    what: str  # follows the metric's name in the title: "by layer and head"
    width: float
    height: float
    left: float
    bottom: float = 0.55
    right: float = 0.25  # room for a colour bar and its label
    shown: str = ""  # how numbers became marks: "bars: means; lines: {interval}"
    notes: Sequence[str] = ()


@contextlib.contextmanager
def settings() -> Iterator[None]:
    """What has to hold while a figure is drawn and saved, whatever the user's Matplotlib has."""
    with matplotlib.rc_context(SETTINGS), warnings.catch_warnings():
        # Ids may have letters that the font lacks; they become boxes, and the report has them.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


@functools.cache
def _measuring_renderer() -> RendererAgg:
    return RendererAgg(8, 8, POINTS)


@functools.lru_cache(maxsize=4096)
def text_width(words: str, size: float, weight: str = "normal") -> float:
    """Width of a line in inches."""
    renderer = _measuring_renderer()
    font = FontProperties(family=SETTINGS["font.family"], size=size, weight=weight)
    return renderer.get_text_width_height_descent(words, font, ismath=False)[0] / POINTS


def wrap(words: str, size: float, width: float, weight: str = "normal") -> list[str]:
    """Lines of at most `width` inches; a word that is longer, such as a run id, is cut."""
    lines = [""]
    for word in words.split():
        joined = f"{lines[-1]} {word}".strip()
        if text_width(joined, size, weight) <= width:
            lines[-1] = joined
            continue
        if lines[-1]:
            lines.append("")
        while text_width(word, size, weight) > width and len(word) > 1:
            fits = _good_cut(word, _fitting(word, size, width, weight))
            lines[-1] = word[:fits]
            lines.append("")
            word = word[fits:]
        lines[-1] = word
    return lines


def _fitting(word: str, size: float, width: float, weight: str) -> int:
    return _most(len(word) - 1, width, lambda count: text_width(word[:count], size, weight))


def _good_cut(word: str, most: int) -> int:
    """Where to cut a word of which `most` characters fit: after a joint in their second half."""
    joints = [place for place in range(most // 2, most) if word[place] in "/_-."]
    return joints[-1] + 1 if joints else most


def shorten(label: str, size: float, width: float) -> str:
    """The label, its middle replaced by an ellipsis where it is wider than `width` inches."""
    if text_width(label, size) <= width:
        return label

    def short(keep: int) -> str:
        return f"{label[: (keep + 1) // 2]}…{label[len(label) - keep // 2 :]}"

    return short(_most(len(label) - 1, width, lambda keep: text_width(short(keep), size)))


def _most(limit: int, width: float, measure: Callable[[int], float]) -> int:
    """The largest number of characters, from 1 to `limit`, that measures at most `width`."""
    return max(1, bisect.bisect_right(range(1, limit + 1), width, key=measure))


def build(context: Context, body: Body) -> tuple[Figure, Axes]:
    """A figure of one metric with header and footer, and empty axes of the body's size."""
    footer = " ".join([*body.notes, base_line(context.run)])
    return build_titled(_title(context, body), _subtitle(context, body), footer, body, context.run)


def build_titled(
    title: str, subtitle: str, footer: str, body: Body, run: Run | None = None
) -> tuple[Figure, Axes]:
    """The same for figures of several runs, with words of their own; the warnings are `run`'s."""
    width = max(body.left + body.width + body.right, SMALLEST_WIDTH)
    room = width - 2 * EDGE
    above = [(line, 11.5, "bold", "#111111") for line in wrap(title, 11.5, room, "bold")]
    above += [(line, 8.5, "normal", "#333333") for line in wrap(subtitle, 8.5, room)]
    for warning in run.warnings if run else ():
        said = wrap(f"Warning: {warning}", 8.5, room, "bold")
        above += [(line, 8.5, "bold", "#a50026") for line in said]
    below = [(line, 8.5, "normal", "#333333") for line in wrap(footer, 8.5, room)]
    return _assemble(above, below, body, width)


def _assemble(above: list[tuple], below: list[tuple], body: Body, width: float):
    header, footer = _height(above), _height(below)
    height = EDGE + header + GAP + body.height + body.bottom + GAP + footer + EDGE
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    _write(figure, above, height - EDGE)
    _write(figure, below, EDGE + footer)
    axes = figure.add_axes(
        (
            body.left / width,
            (EDGE + footer + GAP + body.bottom) / height,
            body.width / width,
            body.height / height,
        )
    )
    axes.tick_params(labelsize=8)
    return figure, axes


def add_colour_bar(figure: Figure, axes: Axes, image, label: str, extend: str) -> None:
    """A colour bar to the right of the axes, as tall as they are up to 4 inches."""
    width, height = figure.get_size_inches()
    box = axes.get_position()
    tall = min(box.height * height, 4.0)
    place = (box.x1 + 0.15 / width, box.y1 - tall / height, 0.16 / width, tall / height)
    bar = figure.colorbar(image, cax=figure.add_axes(place), extend=extend)
    bar.ax.tick_params(labelsize=8)
    bar.set_label("\n".join(wrap(label, 8.5, tall)), size=8.5)


def tick_places(axis: Axis, cell: float, room: float) -> tuple[list[int], list[str]]:
    """Indices and labels of ticks of cells that are `cell` inches apart.

    A label needs `room` inches; steps are 1, 2, 5 or such times a power of ten.
    """
    step = next(
        factor * 10**power
        for power in range(9)
        for factor in (1, 2, 5)
        if factor * 10**power * cell >= room
    )
    values = axis.values
    first = values[0]
    counts_up = axis.is_numeric and values == tuple(range(first, first + len(values)))
    places = [
        index for index, value in enumerate(values) if (value if counts_up else index) % step == 0
    ]
    places = places or [0]
    return places, [str(values[index]).replace("-", "−") for index in places]


def number_room(axis: Axis, size: float = 8) -> float:
    """Inches that the widest label of an axis needs along a horizontal axis, gap included."""
    return max(text_width(str(value), size) for value in axis.values) + 0.08


def _title(context: Context, body: Body) -> str:
    run, metric = context.run, context.metric
    where = f", {context.where}" if context.where else ""
    title = f"{metric.long_name} {body.what}{where}: {run.model} on {run.prompts}"
    return title[:1].upper() + title[1:]


def _subtitle(context: Context, body: Body) -> str:
    run = context.run
    interval = interval_words(run, context.interval)
    estimand = run.attributes.get("estimand", "")
    sentences = [
        f"{run.run_id}: {estimand}" if estimand else run.run_id,
        sample_line(run, context.metric),
        body.shown.format(interval=interval),
    ]
    return ". ".join(sentence.rstrip(".") for sentence in sentences if sentence) + "."


def _height(lines: list[tuple]) -> float:
    return sum(size * LINE_SPACING / POINTS for _, size, _, _ in lines)


def _write(figure: Figure, lines: list[tuple], top: float) -> None:
    """Writes lines downwards from `top` inches above the figure's lower edge."""
    width, height = figure.get_size_inches()
    for words, size, weight, colour in lines:
        figure.text(
            EDGE / width,
            top / height,
            words,
            size=size,
            weight=weight,
            color=colour,
            va="top",
            parse_math=False,
        )
        top -= size * LINE_SPACING / POINTS
