"""Bars of the heads with the strongest effect, with intervals."""

from mechsweep_analysis.figures import head_map
from mechsweep_analysis.figures.bars import Bar, draw_bars
from mechsweep_analysis.figures.frame import Context, Drawing
from mechsweep_analysis.style import Scale, count, quantity, scale_of, show, strongest_first
from mechsweep_analysis.summary import Metric
from mechsweep_analysis.top_table import top_rows

NAME = "top_heads"


def choose(metric: Metric) -> tuple[str, ...] | None:
    return head_map.choose(metric)


def draw(context: Context) -> Drawing:
    run, metric = context.run, context.metric
    rows = top_rows(run, metric, context.interval, context.top)
    bars = [Bar(row.name, row.mean, row.interval_low, row.interval_high) for row in rows]
    end = "largest" if strongest_first(run, metric) > 0 else "smallest"
    what = f"of the {count(len(rows), 'head')} with the {end} means"
    caption = f"Bars of {quantity(metric)} {what}"
    caption += f" ({context.where})." if context.where else "."
    if rows:
        first = rows[0]
        ends = f"{show(first.interval_low)} to {show(first.interval_high)}"
        caption += f" First: {first.name} with {show(first.mean)}, interval {ends}."
    notes = []
    if len(rows) < metric.mean.size:
        notes.append(f"{len(rows)} of {metric.mean.size} heads are shown.")
        if scale_of(run, metric) is not Scale.LEVEL:
            notes.append("They are chosen by these very means, which flatters the first.")
    return draw_bars(context, bars, what, "layer and head", notes, caption)
