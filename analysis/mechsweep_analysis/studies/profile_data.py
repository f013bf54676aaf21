"""Layer profiles with a null, as the figures of the topology of heads need them.

Of every attention score with `null`, the summary has SCORE_matched_layer_profile and, where top
heads are chosen, SCORE_matched_top_layer_profile, each with its null's columns and a table _shape
(docs/statistics.md, "Layer profiles").
"""

import math
from dataclasses import dataclass, field

import numpy as np

from mechsweep_analysis.studies.product import Source
from mechsweep_analysis.style import base_line
from mechsweep_analysis.summary import Metric, Run

MATCHED = "_matched"
PROFILE = "_matched_layer_profile"
TOP_PROFILE = "_matched_top_layer_profile"
SHAPE = "_shape"
BANDS = ("null_lower", "null_upper", "null_simultaneous_lower", "null_simultaneous_upper")


@dataclass(frozen=True)
class Quantity:
    """One number of a shape; its interval's ends may be NaN."""

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True, eq=False)
class Profile:
    """A layer profile of one run, its null and its shape."""

    source: Source
    run: Run
    score: str  # "induction"
    is_top: bool
    metric: Metric  # [layer]
    layers: int  # of the model
    shape: dict[str, Quantity] = field(default_factory=dict)

    @property
    def depths(self) -> np.ndarray:
        """(l + 1/2) / L of every layer of the profile."""
        return (np.array(self.metric.axis("layer").values) + 0.5) / self.layers

    @property
    def heads(self) -> str:
        """Which heads the profile is a mean over, in words."""
        if not self.is_top:
            return "mean over heads"
        share = self.run.attributes.get("top_fraction", "")
        return f"top {share} of each layer's heads" if share else "top heads of each layer"

    @property
    def interval_kind(self) -> str:
        return self.source.interval(self.run)

    @property
    def base(self) -> str:
        """How well the model does the task: scores alone do not say, other runs on it do."""
        same = (self.run.model, self.run.prompts)
        for run in (self.run, *self.source.summary.runs):
            scored = math.isfinite(run.numbers["base_loss"])
            if scored and (run.model, run.prompts) == same:
                other = "" if run is self.run else f" ({run.run_id})"
                return base_line(run).removesuffix(".") + f"{other}."
        return base_line(self.run)

    def column(self, name: str) -> np.ndarray:
        """[layer]; NaN where the file has none."""
        return self.metric.arrays.get(name, np.full(self.metric.mean.shape, np.nan))

    def number(self, name: str) -> float:
        return self.shape.get(name, Quantity()).value

    def is_set(self, name: str) -> bool:
        """Whether a quantity that is 1 or 0 is 1."""
        return self.number(name) == 1.0


def profiles_of(source: Source) -> list[Profile]:
    """Those with a null, in the file's order, means over heads before top heads."""
    found = []
    for run in source.runs("attention_scores"):
        facts = source.summary.models.get(run.model, {})
        for ending in (PROFILE, TOP_PROFILE):
            for name, metric in run.metrics.items():
                has_null = all(band in metric.arrays for band in BANDS)
                if not name.endswith(ending) or metric.axis_names != ("layer",) or not has_null:
                    continue
                layers = int(facts.get("n_layers") or len(metric.axes[0].values))
                shape = _shape(run.metrics.get(name + SHAPE), source.interval(run))
                score = name.removesuffix(ending)
                is_top = ending == TOP_PROFILE
                found.append(Profile(source, run, score, is_top, metric, layers, shape))
    return found


def by_score(profiles: list[Profile]) -> dict[tuple[str, str], list[Profile]]:
    """{(run id, score): its profiles}."""
    groups: dict[tuple[str, str], list[Profile]] = {}
    for profile in profiles:
        groups.setdefault((profile.run.run_id, profile.score), []).append(profile)
    return groups


def _shape(metric: Metric | None, kind: str) -> dict[str, Quantity]:
    if metric is None or metric.axis_names != ("quantity",):
        return {}
    shape = {}
    for place, name in enumerate(metric.axes[0].values):
        low, high = (float(end[place]) for end in metric.interval(kind))
        if not (math.isfinite(low) and math.isfinite(high)):
            # A peak steps from layer to layer: it has percentile intervals only.
            low, high = (float(end[place]) for end in metric.interval("percentile"))
        shape[str(name)] = Quantity(float(metric.mean[place]), low, high)
    return shape


def shape_numbers(profile: Profile) -> dict:
    """The shape for JSON: numbers with intervals; flags as true or false; None where undefined."""
    numbers: dict = {"heads": profile.heads, "layers": profile.layers}
    for name, one in profile.shape.items():
        if name in ("clipped", "inside_null"):
            numbers[name] = bool(one.value) if math.isfinite(one.value) else None
        elif math.isfinite(one.low) and math.isfinite(one.high):
            numbers[name] = {"value": one.value, "interval": [one.low, one.high]}
        else:
            numbers[name] = one.value
    return numbers
