"""Numbers by prompt, which only the results file has."""

from pathlib import Path

import h5py
import numpy as np

from mechsweep_analysis.hdf5_text import text
from mechsweep_analysis.summary import Run

CELL = ["prompt", "layer", "head"]


def prompt_effects(results: Path | None, run: Run, name: str, operation: str = ""):
    """[prompt, layer, head]: dataset `name` with the edit minus without it, mean over targets.

    `name` is "loss" or "logit" (of the answer); `operation` is that of a run with several. Places
    that a prompt does not have are NaN. None where there is no results file, or where the run has
    other axes. Format: docs/results-file.md.
    """
    if results is None:
        return None
    with h5py.File(results, "r", locking=False) as file:
        group = file.get(f"runs/{run.experiment}/{run.model}/{run.prompts}")
        if group is None or name not in group or f"base/{name}" not in group:
            return None
        edited, axes = group[name][()], _axes(group[name])
        base, base_axes = group[f"base/{name}"][()], _axes(group[f"base/{name}"])
        labels = [text(value) for value in group["operation"][()]] if "operation" in axes else []
    if axes[:3] != CELL or set(axes[3:]) - {"operation", "target", "tracked"}:
        return None
    if labels:
        if operation not in labels:
            return None
        place = axes.index("operation")
        edited = edited.take(labels.index(operation), axis=place)
        axes.pop(place)
    if "tracked" in axes:  # the answer comes first
        edited, base = edited[..., 0], base[..., 0]
        axes.remove("tracked")
        base_axes.remove("tracked")
    if base_axes != [axis for axis in axes if axis not in ("layer", "head")]:
        return None
    change = edited.astype(np.float64) - base.astype(np.float64)[:, None, None]
    return _mean_over_targets(change) if "target" in axes else change


def _axes(dataset: h5py.Dataset) -> list[str]:
    return [text(dim[0].name.rsplit("/", 1)[-1]) if len(dim) else "" for dim in dataset.dims]


def _mean_over_targets(change: np.ndarray) -> np.ndarray:
    """The mean over the targets that a prompt has; NaN where it has none."""
    there = np.isfinite(change)
    count = there.sum(axis=-1)
    total = np.where(there, change, 0.0).sum(axis=-1)
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)
