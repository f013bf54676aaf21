"""Runs of attention_edges, those on chosen pairs beside those on as many random ones."""

from dataclasses import dataclass

import numpy as np

from mechsweep_analysis.hdf5_text import number
from mechsweep_analysis.studies.product import Source
from mechsweep_analysis.summary import Metric, Run

RANDOM = "random."
AXES = ("set", "layer", "named_head", "pairs", "edit", "draw")
CUT = "cut"


@dataclass(frozen=True, eq=False)
class EdgeRuns:
    """One model on one prompt set: edits of chosen pairs, and the run of random pairs, if any."""

    source: Source
    chosen: Run
    random: Run | None

    @property
    def what(self) -> str:
        """The operation, such as zero."""
        return self.chosen.attributes.get("operation", "")


def runs_in_order(source: Source, kind: str) -> list[Run]:
    """As in the config: groups of a file come by name."""
    return sorted(source.runs(kind), key=lambda run: number(run.attributes.get("run_index", 0)))


def edge_runs(source: Source) -> list[EdgeRuns]:
    """Runs whose edits are joint over heads, so that they differ in pairs and vectors only."""
    runs = [run for run in runs_in_order(source, "attention_edges") if _is_joint(run)]
    found = []
    for run in runs:
        if all(name.startswith(RANDOM) for name in names_of(run, "pairs")):
            continue
        partners = [
            other
            for other in runs
            if other is not run
            and (other.model, other.prompts) == (run.model, run.prompts)
            and all(name.startswith(RANDOM) for name in names_of(other, "pairs"))
            and other.attributes.get("operation") == run.attributes.get("operation")
            and set(names_of(other, "edit")) & set(names_of(run, "edit"))
        ]
        found.append(EdgeRuns(source, run, partners[0] if partners else None))
    return found


def _is_joint(run: Run) -> bool:
    metric = run.metrics.get("delta_loss")
    if metric is None or set(metric.axis_names) - {*AXES, "all"}:
        return False
    others = [axis for axis in metric.axes if axis.name in ("set", "layer", "named_head")]
    return all(len(axis.values) == 1 for axis in others)


def names_of(run: Run, axis: str) -> list[str]:
    """Pairs or edits of a run: those of its axis, else the one that the run has."""
    metric = run.metrics["delta_loss"]
    if axis in metric.axis_names:
        return [str(value) for value in metric.axis(axis).values]
    return [run.attributes.get(axis) or CUT]


def cell(metric: Metric, pairs: str, edit: str) -> dict[str, np.ndarray] | None:
    """{statistic: values by draw} of one edit of one kind of pairs; None where there is none."""
    fixed = {}
    for axis in metric.axes:
        wanted = {"pairs": pairs, "edit": edit}.get(axis.name)
        if axis.name == "draw":
            continue
        if wanted is not None and wanted not in axis.values:
            return None
        fixed[axis.name] = axis.values.index(wanted) if wanted is not None else 0
    arrays = metric.at(fixed).arrays
    return {name: np.atleast_1d(array) for name, array in arrays.items()}


def random_of(name: str) -> str:
    return RANDOM + name


def short(name: str) -> str:
    """The pairs' name for people."""
    return name.removeprefix("pairs.").replace("_", " ")
