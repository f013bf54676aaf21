"""Where heads look while a model copies, over the copy's length and over its position.

From attention scores on copying prompts: attention to the previous token, to the earlier copy of
the token, and to what follows or precedes that copy. Models stand in one figure: pretrained beside
fine-tuned. Lengths come from several prompt sets or files. Needs the results file, which says how
the prompts were made.
"""

from dataclasses import dataclass, field

import h5py
import numpy as np

from mechsweep_analysis.figures.frame import Drawing, settings
from mechsweep_analysis.hdf5_text import text
from mechsweep_analysis.json_text import as_json
from mechsweep_analysis.render import file_name
from mechsweep_analysis.samples import prompt_facts
from mechsweep_analysis.studies.edge_data import runs_in_order
from mechsweep_analysis.studies.panels import Sheet, Words, curve, draw_panels, style
from mechsweep_analysis.studies.product import Product, Source, figure_file, head_names
from mechsweep_analysis.style import count, show
from mechsweep_analysis.summary import Metric, Run

TASKS = ("unique_copy", "reversed_unique_copy")
# In this order; each with the names that it can have, and what is looked at.
SCORES = (
    (("previous", "pairs.previous", "previous_token"), "the previous token (next word)"),
    (("duplicate", "pairs.duplicate", "duplicate_token"), "the token's earlier copy (duplicate)"),
    (("pairs.induction", "induction"), "the token after that copy (induction)"),
    (("pairs.anti_induction", "anti_induction"), "the token before it (anti-induction)"),
    (("source", "pairs.source"), "where the answer stands (source)"),
)
NORMAL = 1.96  # standard errors of a 95 % interval
BY_POSITION = "_by_position_all_heads"


@dataclass(frozen=True, eq=False)
class Member:
    """The scores of one model on one prompt set."""

    source: Source
    run: Run
    task: str
    length: int
    spans: dict[str, tuple]
    scores: dict[int, Metric] = field(default_factory=dict)  # [layer, head] by place in SCORES


def make(sources: list[Source]) -> list[Product]:
    groups: dict[tuple[str, str], list[Member]] = {}
    for source in sources:
        for run in runs_in_order(source, "attention_scores"):
            member = _member(source, run)
            if member is not None:
                groups.setdefault((run.experiment, member.task), []).append(member)
    products = [_product(names, members) for names, members in groups.items()]
    return [product for product in products if product.figures]


def _member(source: Source, run: Run) -> Member | None:
    facts = prompt_facts(source.results, run)
    if facts.get("kind") not in TASKS or not isinstance(facts["parameters"].get("length"), int):
        return None
    scores = {}
    for place, (names, _) in enumerate(SCORES):
        for name in names:
            metric = run.metrics.get(name)
            if metric is not None and set(metric.axis_names) == {"layer", "head"}:
                scores.setdefault(place, metric.ordered(("layer", "head")))
    length = facts["parameters"]["length"]
    return Member(source, run, facts["kind"], length, facts["spans"], scores) if scores else None


def _models(members: list[Member]) -> list[str]:
    return list(dict.fromkeys(member.run.model for member in members))


def _product(names: tuple[str, str], members: list[Member]) -> Product:
    experiment, task = names
    members = sorted(members, key=lambda one: one.length)
    options = members[0].source.options
    rows = [row for member in members for row in _numbers(member)]
    figures = []
    if len({one.length for one in members}) > 1:
        name = file_name(experiment, task, "alignment_over_length")
        figures.append(figure_file(name, _draw_lengths(names, members), options))
    for length in sorted({one.length for one in members}):
        there = [one for one in members if one.length == length]
        drawing = _draw_positions(names, there)
        if drawing is not None:
            name = file_name(experiment, task, f"length={length}", "alignment_over_position")
            figures.append(figure_file(name, drawing, options))
    name = file_name(experiment, task, "alignment")
    numbers = {"experiment": experiment, "task": task, "scores": rows}
    return Product(
        name=name,
        title=f"Where heads look while copying: {experiment}, {task}",
        said="Attention alone does not show that a model uses what it looks at: see the edges.",
        numbers=numbers,
        figures=figures,
        documents={f"{name}.json": as_json(numbers)},
        header=["model", "length", "attention to", "mean over heads", "largest head", "its score"],
        rows=[
            [row["model"], row["length"], row["attention_to"], show(row["mean"]), row["head"],
             show(row["head_score"])]
            for row in rows
        ],
    )  # fmt: skip


def _numbers(member: Member) -> list[dict]:
    rows = []
    for place, metric in member.scores.items():
        mean, error = _over_heads(member, metric)
        best = int(np.nanargmax(metric.mean)) if np.isfinite(metric.mean).any() else 0
        rows.append(
            {
                "model": member.run.model,
                "length": member.length,
                "score": metric.name,
                "attention_to": SCORES[place][1],
                "mean": mean,
                "standard_error": error,
                "head": head_names(metric)[best],
                "head_score": float(metric.mean.ravel()[best]),
                "prompts": int(metric.arrays["prompts"].max()),
            }
        )
    return rows


def _over_heads(member: Member, metric: Metric) -> tuple[float, float]:
    """Mean over all heads, and its standard error over prompts (NaN where it cannot be known)."""
    run = member.run
    with h5py.File(member.source.results, "r", locking=False) as file:
        path = f"runs/{run.experiment}/{run.model}/{run.prompts}/{text(metric.name)}"
        values = file[path][()] if path in file else np.empty((0, 1, 1))
    each = values.reshape(len(values), -1)
    each = each[np.isfinite(each).all(axis=1)].mean(axis=1) if each.size else np.empty(0)
    error = each.std(ddof=1) / np.sqrt(len(each)) if len(each) > 1 else np.nan
    return float(np.nanmean(metric.mean)), float(error)


def _words(names: tuple[str, str], members: list[Member], over: str, shown: str) -> Words:
    experiment, task = names
    prompts = sorted({int(one.run.numbers["n_prompts"]) for one in members})
    models = _models(members)
    return Words(
        title=f"Attention while copying, over {over}: {task}, {', '.join(models)}",
        subtitle=f"{experiment}: {members[0].run.attributes.get('estimand', 'attention')}. "
        f"{' or '.join(map(str, prompts))} prompts of each. {shown}",
        footer="Queries: positions of the second part. A head that looks somewhere need not use "
        "what it sees there. Some published code calls duplicate induction.",
    )


def _draw_lengths(names: tuple[str, str], members: list[Member]) -> Drawing:
    places = sorted({place for member in members for place in member.scores})
    shown = (
        "Above: mean over all heads, bands ± 1.96 standard errors over prompts. Below: the head "
        "with the largest mean over lengths, bands: the summary's intervals."
    )
    words = _words(names, members, "length", shown)
    sheet = Sheet(
        rows=2, columns=len(places), width=2.3, height=2.1, across=0.5, down=0.45, above=0.42
    )
    with settings():
        figure, panels = draw_panels(words, sheet)
        for column, place in enumerate(places):
            for number, model in enumerate(_models(members)):
                there = [m for m in members if m.run.model == model and place in m.scores]
                if there:
                    _length_panel(panels[:, column], there, place, style(number) | {"label": model})
            panels[0, column].set_title("\n".join(_two_lines(SCORES[place][1])), size=8.5)
            panels[1, column].set_xlabel("length (tokens)", size=8.5)
            panels[1, column].legend(fontsize=7, frameon=False, loc="best")
            for axes in panels[:, column]:
                axes.set_xticks(sorted({one.length for one in members}))
                axes.margins(x=0.1)
        for row in panels:
            _same_height(row)
        panels[0, 0].set_ylabel("attention, mean over heads", size=8.5)
        panels[1, 0].set_ylabel("attention, largest head", size=8.5)
    caption = f"Curves of attention over the copy's length: {names[1]}, {_said(members)}"
    return Drawing(figure, caption)


def _same_height(panels: np.ndarray) -> None:
    """From 0 to the same value in all of them, so that they can be compared."""
    top = max(axes.get_ylim()[1] for axes in panels)
    for axes in panels:
        axes.set_ylim(0, min(1.02, 1.04 * top) if top <= 1.1 else 1.04 * top)


def _two_lines(words: str) -> list[str]:
    start, _, end = words.partition(" (")
    return [start, f"({end}"] if end else [start]


def _length_panel(panels: np.ndarray, members: list[Member], place: int, looks: dict) -> None:
    lengths = [one.length for one in members]
    pairs = [_over_heads(one, one.scores[place]) for one in members]
    means, errors = (np.array(column) for column in zip(*pairs, strict=True))
    curve(panels[0], lengths, means, means - NORMAL * errors, means + NORMAL * errors, **looks)
    metrics = [one.scores[place] for one in members]
    every = np.mean([metric.mean for metric in metrics], axis=0)
    if not np.isfinite(every).any():
        return
    best = np.unravel_index(int(np.nanargmax(every)), every.shape)
    kind = members[0].source.interval(members[0].run)
    ends = [[float(end[best]) for end in metric.interval(kind)] for metric in metrics]
    low, high = np.array(ends).T
    head = f"L{metrics[0].axes[0].values[best[0]]}H{metrics[0].axes[1].values[best[1]]}"
    looks = looks | {"label": f"{looks['label']} {head}"}
    curve(panels[1], lengths, [float(metric.mean[best]) for metric in metrics], low, high, **looks)


def _said(members: list[Member]) -> str:
    rows = [row for member in members for row in _numbers(member)]
    return "; ".join(
        f"{row['model']} length {row['length']} {row['score']}: mean {show(row['mean'])}, "
        f"{row['head']} {show(row['head_score'])}"
        for row in rows
    ) + "."  # fmt: skip


def _position_metrics(member: Member) -> dict[int, Metric]:
    """{place in SCORES: metric [position]} of those that the run has by position."""
    found = {}
    for place, (names, _) in enumerate(SCORES):
        for name in names:
            metric = member.run.metrics.get(name + BY_POSITION)
            if metric is not None and metric.axis_names == ("position",):
                found.setdefault(place, metric)
    return found


def _draw_positions(names: tuple[str, str], members: list[Member]) -> Drawing | None:
    """Curves over the second part's positions; None where no run has scores by position."""
    found = {id(member): _position_metrics(member) for member in members}
    places = sorted({place for metrics in found.values() for place in metrics})
    if not places:
        return None
    length = members[0].length
    shown = f"Length {length}; mean over all heads; bands: the summary's intervals over prompts."
    words = _words(names, members, "position", shown)
    sheet = Sheet(columns=len(places), width=2.3, height=2.4, across=0.5, above=0.42)
    with settings():
        figure, panels = draw_panels(words, sheet)
        for axes, place in zip(panels[0], places, strict=True):
            for number, member in enumerate(members):
                metric = found[id(member)].get(place)
                if metric is not None:
                    _position_curve(axes, member, metric, style(number))
            axes.set_title("\n".join(_two_lines(SCORES[place][1])), size=8.5)
            axes.set_xlabel("place in the second part", size=8.5)
            axes.set_xlim(-0.3, length - 0.7)
            axes.xaxis.get_major_locator().set_params(integer=True)
        _same_height(panels[0])
        panels[0, 0].set_ylabel("attention, mean over heads", size=8.5)
        panels[0, -1].legend(fontsize=7, frameon=False, loc="best")
    models = count(len(_models(members)), "model")
    caption = f"Curves of attention over position, {names[1]} of length {length}, {models}."
    return Drawing(figure, caption)


def _position_curve(axes, member: Member, metric: Metric, looks: dict) -> None:
    """Places count from 0 at the second part's first token; others are left out."""
    low, high = metric.interval(member.source.interval(member.run))
    there = np.isfinite(metric.mean)
    across = np.array(metric.axes[0].values) - member.spans.get("second", (0,))[0]
    there &= (across >= 0) & (across < member.length)
    curve(
        axes, across[there], metric.mean[there], low[there], high[there],
        label=member.run.model, **looks,
    )  # fmt: skip
