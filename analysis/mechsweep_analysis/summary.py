"""The summary file of `mechsweep reduce` as plain objects.

Format version 1: /runs/EXPERIMENT/MODEL/PROMPTS holds one group per metric with the statistics of
every cell, whose coordinates are attached as dimension scales.
"""

import math
from dataclasses import dataclass, field, replace
from pathlib import Path

import h5py
import numpy as np

from mechsweep_analysis.errors import InputError
from mechsweep_analysis.hdf5_text import number, text, texts

FORMAT = "mechsweep-summary"
FORMAT_VERSION = 1
RESULTS_FORMAT = "mechsweep-results"
SUMMARY_ENDING = ".summary.h5"
INTERVALS = ("bca", "percentile")
SCALAR_AXIS = "all"
DEFINITION = "definition_"  # attributes that begin so say what a metric is

STATISTICS = (
    "mean",
    "standard_error",
    "percentile_low",
    "percentile_high",
    "bca_low",
    "bca_high",
    "prompts",
    "clusters",
)
# What comparisons of chosen heads with random sets have in place of intervals.
CONTROL = "control_"
CONTROL_STATISTICS = (
    "observed",
    "p_value",
    "mean",
    "quantile_025",
    "median",
    "quantile_975",
    "draws",
    "prompts",
)


@dataclass(frozen=True)
class Axis:
    """One dimension of a metric: its name and a coordinate (a number or a label) per cell."""

    name: str
    values: tuple

    @property
    def is_numeric(self) -> bool:
        return all(isinstance(value, int) for value in self.values)


@dataclass(frozen=True)
class Metric:
    """Statistics of one metric; every array has one dimension per axis."""

    name: str
    long_name: str
    units: str
    axes: tuple[Axis, ...]
    # By name in STATISTICS; and what else some metrics have: rank, p_value, null_lower, ...
    arrays: dict[str, np.ndarray]
    attributes: dict[str, str] = field(default_factory=dict)

    @property
    def axis_names(self) -> tuple[str, ...]:
        return tuple(axis.name for axis in self.axes)

    @property
    def is_scalar(self) -> bool:
        return self.axis_names == (SCALAR_AXIS,)

    @property
    def mean(self) -> np.ndarray:
        return self.arrays["mean"]

    def interval(self, kind: str) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper ends; `kind` is one of INTERVALS."""
        return self.arrays[f"{kind}_low"], self.arrays[f"{kind}_high"]

    def axis(self, name: str) -> Axis:
        return self.axes[self.axis_names.index(name)]

    def at(self, fixed: dict[str, int]) -> "Metric":
        """The cells where each named axis has the given index; those axes are gone."""
        index = tuple(fixed.get(axis.name, slice(None)) for axis in self.axes)
        axes = tuple(axis for axis in self.axes if axis.name not in fixed)
        arrays = {name: array[index] for name, array in self.arrays.items()}
        return replace(self, axes=axes, arrays=arrays)

    def ordered(self, names: tuple[str, ...]) -> "Metric":
        """The same with its axes in the given order."""
        order = [self.axis_names.index(name) for name in names]
        arrays = {name: array.transpose(order) for name, array in self.arrays.items()}
        axes = tuple(self.axes[place] for place in order)
        return replace(self, axes=axes, arrays=arrays)


@dataclass(frozen=True)
class Run:
    """One experiment on one model and one prompt set."""

    run_id: str
    experiment: str
    model: str
    prompts: str
    attributes: dict[str, str]
    numbers: dict[str, float]  # base_loss, base_accuracy, ...; NaN where not measured
    definitions: dict[str, str]
    warnings: tuple[str, ...]
    metrics: dict[str, Metric]
    # Chosen heads against random sets, with CONTROL_STATISTICS: "delta_loss", "delta_correct".
    controls: dict[str, Metric] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        return self.attributes.get("kind", "")

    @property
    def direction(self) -> str:
        return self.attributes.get("direction", "")

    @property
    def interval(self) -> str:
        """The kind of interval that the config asked for; one of INTERVALS."""
        asked = self.attributes.get("interval", "")
        return asked if asked in INTERVALS else INTERVALS[0]


@dataclass(frozen=True)
class Summary:
    """A whole summary file."""

    path: Path
    attributes: dict[str, str]
    models: dict[str, dict[str, str]]
    runs: tuple[Run, ...]


RUN_NUMBERS = (
    "n_prompts",
    "n_clusters",
    "base_loss",
    "base_accuracy",
    "candidate_accuracy",
    "chance_loss",
    "chance_accuracy",
    "resamples",
    "level",
)


def find_summary(path: Path) -> Path:
    """The summary that belongs to a results file, or `path` itself where it is one."""
    if path.name.endswith(SUMMARY_ENDING):
        if not path.is_file():
            raise InputError(f"{path} does not exist; make it with `mechsweep reduce RESULTS.h5`.")
        return path
    beside = path.with_name(path.name.removesuffix(".h5") + SUMMARY_ENDING)
    if beside.is_file():
        return beside
    if not path.is_file():
        raise InputError(f"{path} does not exist, nor does {beside.name} beside it.")
    if _format_of(path) == RESULTS_FORMAT:
        raise InputError(f"{beside} does not exist; make it with `mechsweep reduce {path}`.")
    return path


def load_summary(path: Path) -> Summary:
    """Reads a summary file. Throws InputError naming what is wrong with it."""
    try:
        # No lock: the file may lie on a file system that is mounted read-only.
        with h5py.File(path, "r", locking=False) as file:
            _check_format(path, file)
            return _read_summary(path, file)
    # h5py reports damage with whichever of these HDF5's failure happens to end in.
    except (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).strip("\"'").split()) or type(error).__name__
        raise InputError(
            f"{path} cannot be read as a mechsweep summary ({reason}); "
            "make it again with `mechsweep reduce`."
        ) from error


def _format_of(path: Path) -> str:
    try:
        with h5py.File(path, "r", locking=False) as file:
            return text(file.attrs.get("format", ""))
    except OSError:
        return ""


def _check_format(path: Path, file: h5py.File) -> None:
    found = text(file.attrs.get("format", ""))
    if found != FORMAT:
        what = f"its format is '{found}'" if found else "it has no format attribute"
        raise InputError(
            f"{path} is not a mechsweep summary ({what}); give a file that `mechsweep reduce` made."
        )
    version = number(file.attrs.get("format_version", math.nan))
    if version != FORMAT_VERSION:
        shown = "none" if math.isnan(version) else f"{version:g}"
        raise InputError(
            f"{path} has format version {shown}, and this program reads version {FORMAT_VERSION}; "
            "reduce again with the matching mechsweep."
        )


def _read_summary(path: Path, file: h5py.File) -> Summary:
    models = {name: _attributes(group) for name, group in _groups(file.get("models"))}
    runs = [
        _read_run((experiment, model, prompts), group)
        for experiment, in_experiment in _groups(file.get("runs"))
        for model, in_model in _groups(in_experiment)
        for prompts, group in _groups(in_model)
    ]
    if not runs:
        raise InputError(f"{path} has no runs; reduce a results file in which units are done.")
    return Summary(path, _attributes(file), models, tuple(runs))


def _groups(parent) -> list[tuple[str, h5py.Group]]:
    if parent is None:
        return []
    return [(text(name), item) for name, item in parent.items() if isinstance(item, h5py.Group)]


def _attributes(item) -> dict[str, str]:
    return {text(name): text(value) for name, value in item.attrs.items()}


def _read_run(names: tuple[str, str, str], group: h5py.Group) -> Run:
    experiment, model, prompts = names
    attributes = _attributes(group)
    definitions = {
        name.removeprefix(DEFINITION): value
        for name, value in attributes.items()
        if name.startswith(DEFINITION)
    }
    return Run(
        run_id=attributes.get("run_id", "/".join(names)),
        experiment=experiment,
        model=model,
        prompts=prompts,
        controls={
            name.removeprefix(CONTROL): _read_metric(name, item, CONTROL_STATISTICS)
            for name, item in _groups(group)
            if name.startswith(CONTROL)
        },
        attributes=attributes,
        numbers={name: number(group.attrs.get(name, math.nan)) for name in RUN_NUMBERS},
        definitions=definitions,
        warnings=tuple(texts(group.attrs.get("warnings"))),
        metrics={
            name: _read_metric(name, item)
            for name, item in _groups(group)
            # Comparisons with random sets have a table of their own.
            if name != "axes" and not name.startswith("control_")
        },
    )


def _read_metric(name: str, group: h5py.Group, statistics: tuple[str, ...] = STATISTICS) -> Metric:
    for statistic in statistics:
        if not isinstance(group.get(statistic), h5py.Dataset):
            raise ValueError(f"{group.name} has no dataset {statistic}")
    mean = group["mean"]
    arrays = {
        text(statistic): item[()] for statistic, item in group.items() if _is_numbers(item)
    } | {statistic: group[statistic][()] for statistic in statistics}
    for statistic, array in arrays.items():
        if array.shape != mean.shape or array.dtype.kind not in "iuf":
            raise ValueError(f"{group.name}/{statistic} has another shape or type than mean")
    attributes = _attributes(group)
    return Metric(
        name=name,
        long_name=attributes.get("long_name", "") or name,
        units=attributes.get("units", ""),
        axes=tuple(_read_axis(mean, place) for place in range(mean.ndim)),
        attributes=attributes,
        arrays=arrays,
    )


def _is_numbers(item) -> bool:
    """Whether it is a dataset of numbers that is no scale of an axis."""
    return isinstance(item, h5py.Dataset) and item.dtype.kind in "iuf" and not item.is_scale


def _read_axis(dataset: h5py.Dataset, place: int) -> Axis:
    dimension = dataset.dims[place]
    if len(dimension) == 0:
        raise ValueError(f"dimension {place} of {dataset.name} has no dimension scale")
    scale = dimension[0]
    if scale.shape != (dataset.shape[place],):
        raise ValueError(f"{scale.name} does not fit dimension {place} of {dataset.name}")
    values = scale[()]
    if values.dtype.kind in "iu":
        coordinates = tuple(int(value) for value in values)
    else:
        coordinates = tuple(text(value) for value in values)
    return Axis(text(scale.name.rsplit("/", 1)[-1]), coordinates)
