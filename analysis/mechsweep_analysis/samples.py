"""Numbers by prompt, which only the results file has."""

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from mechsweep_analysis.hdf5_text import parse_json, text
from mechsweep_analysis.summary import Run

CELL = ["prompt", "layer", "head"]


def prompt_facts(results: Path | None, run: Run) -> dict:
    """What made a run's prompts: `kind`, `parameters` (of the config) and `spans`, name: [begin,
    end) in stored tokens, those that all prompts share. Empty where there is no results file.
    """
    if results is None:
        return {}
    with h5py.File(results, "r", locking=False) as file:
        group = file.get(
            run.attributes.get("prompts_group") or f"/prompts/{run.prompts}/{run.model}"
        )
        if not isinstance(group, h5py.Group):
            return {}
        kind = text(group.attrs.get("kind", ""))
        parameters = parse_json(text(group.attrs.get("parameters", "{}")))
        spans = [parse_json(text(one)) for one in group["spans"][()]] if "spans" in group else []
    shared = spans[0] if spans and isinstance(spans[0], dict) else {}
    return {
        "kind": kind,
        "parameters": parameters if isinstance(parameters, dict) else {},
        "spans": {
            name: tuple(span)
            for name, span in shared.items()
            if all(isinstance(one, dict) and one.get(name) == span for one in spans)
        },
    }


@dataclass(frozen=True)
class Readings:
    """Losses and whether answers came first, by prompt and target; NaN where there is none."""

    axes: tuple[str, ...]  # between prompt and target
    labels: dict[str, list]  # coordinates of those axes
    loss: np.ndarray  # [prompt, axes..., target]
    correct: np.ndarray
    base_loss: np.ndarray  # [prompt, target]
    base_correct: np.ndarray


def read_targets(results: Path | None, run: Run) -> Readings | None:
    """Every number of a run that edits, by target. None where there is no results file, or where
    the run has no such datasets."""
    if results is None:
        return None
    needed = ("loss", "top1", "base/loss", "base/top1", "base/tracked_token")
    with h5py.File(results, "r", locking=False) as file:
        group = file.get(f"runs/{run.experiment}/{run.model}/{run.prompts}")
        if group is None or any(name not in group for name in needed):
            return None
        axes = _axes(group["loss"])
        labels = {name: _coordinates(group[name]) for name in axes[1:] if name in group}
        loss, top1, base_loss, base_top1, tokens = (group[name][()] for name in needed)
    if axes[0] != "prompt" or tokens.ndim < 2:
        return None
    if axes[-1] != "target":  # one target a prompt
        loss, top1 = loss[..., None], top1[..., None]
        base_loss, base_top1 = base_loss[..., None], base_top1[..., None]
        tokens = tokens[:, None]
        axes.append("target")
    answers = tokens[..., 0]
    wide = answers.reshape(answers.shape[:1] + (1,) * (loss.ndim - 2) + answers.shape[1:])
    return Readings(
        axes=tuple(axes[1:-1]),
        labels=labels,
        loss=loss,
        correct=np.where(np.isfinite(loss), top1 == wide, np.nan),
        base_loss=base_loss,
        base_correct=np.where(np.isfinite(base_loss), base_top1 == answers, np.nan),
    )


def _coordinates(dataset: h5py.Dataset) -> list:
    values = dataset[()]
    return values.tolist() if values.dtype.kind in "iu" else [text(value) for value in values]


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
