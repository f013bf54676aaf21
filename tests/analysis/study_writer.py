"""Small files as the studies of depth and of copying make them (docs/results-file.md)."""

import json

import h5py
import numpy as np
from summary_writer import SummaryWriter, text, texts

HEADS, PROMPTS, DRAWS = 3, 6, 40
QUANTITIES = (
    "peak_layer",
    "peak_depth",
    "peak_centre_depth",
    "peak_value",
    "peak_excess",
    "inside_null",
    "peak_p_value",
    "permutation_p_value",
    "centroid_centre_depth",
    "bandwidth",
    "left_centre_depth",
    "right_centre_depth",
    "clipped",
)
NAN = float("nan")


def add_columns(group, axes, columns):
    """Further datasets of a metric."""
    for name, values in columns.items():
        dataset = group.create_dataset(name, data=np.asarray(values))
        for place, axis in enumerate(axes):
            dataset.dims[place].attach_scale(group.parent[axis])


def profile_of(layers, peak):
    """Means over heads: a bump at `peak`."""
    return 0.02 + 0.3 * np.exp(-0.5 * (np.arange(layers) - peak) ** 2)


def shape_of(layers, peak, inside=False):
    """By quantity, worked out here from the bump: its half height is sqrt(2 ln 2) layers away."""
    half = np.sqrt(2 * np.log(2))
    left, right = max((peak + 0.5 - half) / layers, 0.0), min((peak + 0.5 + half) / layers, 1.0)
    shape = {
        "peak_layer": peak,
        "peak_depth": peak / layers,
        "peak_centre_depth": (peak + 0.5) / layers,
        "peak_value": 0.32,
        "peak_excess": 0.3,
        "inside_null": float(inside),
        "peak_p_value": 1 / (1 + DRAWS),
        "permutation_p_value": 0.25,
        "centroid_centre_depth": (peak + 0.45) / layers,
        "bandwidth": NAN if inside else right - left,
        "left_centre_depth": NAN if inside else left,
        "right_centre_depth": NAN if inside else right,
        "clipped": NAN if inside else float(left == 0.0 or right == 1.0),
    }
    assert tuple(shape) == QUANTITIES
    return shape


def write_topology(path, models, *, has_null=True, inside=False, **root):
    """Runs scores/MODEL/abab; `models` is {id: (layers, peak)}."""
    with SummaryWriter(path, **root) as writer:
        for model, (layers, peak) in models.items():
            writer.model(model, layers, HEADS)
            axes = {
                "layer": list(range(layers)),
                "head": list(range(HEADS)),
                "lag": [1, 4, 16],
                "lag_range": ["up to 8", "above 8"],
                "quantity": list(QUANTITIES),
            }
            run = writer.run(
                f"scores/{model}/abab",
                axes,
                kind="attention_scores",
                estimand="attention pattern of every head",
                n_prompts=PROMPTS,
                n_clusters=PROMPTS,
                null_draws=DRAWS,
                permutations=500,
                top_fraction=0.1,
                seed=42,
                definition_null="the same score at null sources",
            )
            _write_scores(writer, run, layers, peak, has_null, inside)


def _write_scores(writer, run, layers, peak, has_null, inside):
    means = profile_of(layers, peak)
    heads = np.outer(means, [0.5, 1.0, 1.5])
    plain = {"half_width": 0.01, "units": "1"}
    writer.metric(run, "induction", ["layer", "head"], heads, **plain)
    if not has_null:
        return
    excess = writer.metric(run, "induction_excess", ["layer", "head"], heads - 0.02, **plain)
    q_value = np.where(heads > 0.2, 0.01, 0.5)
    add_columns(excess, ["layer", "head"], {"q_value": q_value})
    for start, factor in (("induction_matched", 1.0), ("induction_matched_top", 1.5)):
        metric = writer.metric(run, f"{start}_layer_profile", ["layer"], factor * means, **plain)
        high = 0.5 if inside else 0.06
        columns = {
            "null_median": np.full(layers, 0.02),
            "null_lower": np.full(layers, 0.01),
            "null_upper": np.full(layers, 0.03),
            "null_simultaneous_lower": np.full(layers, 0.005),
            "null_simultaneous_upper": np.full(layers, high),
        }
        if factor == 1.0:
            columns["permuted_simultaneous_upper"] = np.full(layers, 0.2)
        add_columns(metric, ["layer"], columns)
        shape = np.array(list(shape_of(layers, peak, inside).values()))
        group = writer.metric(
            run, f"{start}_layer_profile_shape", ["quantity"], shape, half_width=0.015, units="1"
        )
        group["bca_low"][0] = group["bca_high"][0] = NAN  # a peak has percentile intervals only
    by_lag = np.stack([np.full(layers, NAN), means, 0.5 * means], axis=1)
    writer.metric(run, "induction_by_lag_layer_profile", ["layer", "lag"], by_lag, **plain)
    ranges = by_lag[:, 1:]
    name = "induction_by_lag_range_layer_profile"
    writer.metric(run, name, ["layer", "lag_range"], ranges, **plain)


def write_causal(path, operations=("zero", "resample")):
    """A run top/tiny/abab with random sets; returns {metric: {statistic: [k, match, ...]}}."""
    rng = np.random.default_rng(5)
    shape = (2, 2, len(operations))
    truth = {}
    with SummaryWriter(path) as writer:
        writer.model("tiny", 4, HEADS)
        axes = {"k": [1, 4], "match": ["uniform", "layer"], "operation": list(operations)}
        run = writer.run("top/tiny/abab", axes, held_out=True, base_loss=9.0, base_accuracy=0.5)
        writer.metric(run, "base_loss", ["all"], [2.0])
        writer.metric(run, "base_correct", ["all"], [0.75])
        chosen = rng.normal(1.0, 0.3, size=(2, 1, len(operations)))
        writer.metric(run, "delta_loss", ["k", "operation"], chosen[:, 0])
        for name, sign in (("delta_loss", 1.0), ("delta_correct", -0.2)):
            draws = sign * rng.normal(0.2, 0.1, size=(*shape, DRAWS))
            observed = np.broadcast_to(sign * chosen, shape)
            columns = {
                "observed": observed,
                "p_value": np.full(shape, 1 / (1 + DRAWS)),
                "mean": draws.mean(axis=-1),
                "sd": draws.std(axis=-1, ddof=1),
                "z": np.zeros(shape),
                "quantile_025": np.quantile(draws, 0.025, axis=-1),
                "quantile_050": np.quantile(draws, 0.05, axis=-1),
                "median": np.median(draws, axis=-1),
                "quantile_950": np.quantile(draws, 0.95, axis=-1),
                "quantile_975": np.quantile(draws, 0.975, axis=-1),
                "draws": np.full(shape, DRAWS, dtype=np.int32),
                "at_least": np.zeros(shape, dtype=np.int32),
                "prompts": np.full(shape, PROMPTS, dtype=np.int32),
            }
            group = run.create_group(f"control_{name}")
            group.attrs["alternative"] = text("greater" if sign > 0 else "less")
            add_columns(group, list(axes), columns)
            truth[name] = columns
    return truth


LAYERS = 2
SCORES = ("previous", "duplicate", "pairs.induction", "pairs.anti_induction")
PAIRS = ("pairs.induction", "duplicate")
EDITS = ("k", "v")


class CopyFiles:
    """A summary and a results file of a copying study on one model; keeps what it wrote."""

    def __init__(self, folder, name, model="pretrained", length=4, seed=0, *, has_edges=True):
        rng = np.random.default_rng(seed)
        self.length, self.model = length, model
        self.path = folder / f"{name}.summary.h5"
        self.results = folder / f"{name}.h5"
        self.attention = {one: rng.uniform(size=(PROMPTS, LAYERS, HEADS)) for one in SCORES}
        self.by_position = {one: rng.uniform(size=2 * length + 2) for one in SCORES}
        shape = (PROMPTS, 1, len(PAIRS), len(EDITS))
        self.loss = rng.uniform(3, 9, size=(*shape, length))
        self.top1 = rng.integers(0, 2, size=(*shape, length))
        self.random_loss = rng.uniform(1, 3, size=(PROMPTS, 1, 1, len(EDITS), 2, length))
        self.random_top1 = rng.integers(0, 2, size=self.random_loss.shape)
        self.base_loss = rng.uniform(0, 2, size=(PROMPTS, length))
        self.base_top1 = rng.integers(0, 2, size=(PROMPTS, length))
        self._write_summary(name, has_edges)
        self._write_results(has_edges)

    def _write_summary(self, name, has_edges):
        counts = {"n_prompts": PROMPTS, "n_clusters": PROMPTS}
        with SummaryWriter(self.path, source=f"{name}.h5") as writer:
            writer.model(self.model, LAYERS, HEADS)
            places = 2 * self.length + 2
            axes = {"layer": [0, 1], "head": [0, 1, 2], "position": list(range(places))}
            run = writer.run(
                f"alignment/{self.model}/copy", axes, kind="attention_scores", **counts
            )
            for one, values in self.attention.items():
                writer.metric(run, one, ["layer", "head"], values.mean(axis=0), units="1")
                profile = f"{one}_by_position_all_heads"
                writer.metric(run, profile, ["position"], self.by_position[one], units="1")
            if has_edges:
                axes = {"set": ["all_together"], "pairs": list(PAIRS), "edit": list(EDITS)}
                self._edges(writer, "edges", axes, self.loss, self.top1)
                axes |= {"pairs": ["random.pairs.induction"], "draw": [0, 1]}
                self._edges(writer, "random", axes, self.random_loss, self.random_top1)

    def _edges(self, writer, experiment, axes, loss, top1):
        run = writer.run(
            f"{experiment}/{self.model}/copy",
            axes,
            kind="attention_edges",
            n_prompts=PROMPTS,
            n_clusters=PROMPTS,
            pairs_per_prompt="pairs.induction 3 a prompt",
        )
        for key in ("loss", "delta_loss"):
            change = self.base_loss.mean() if key == "delta_loss" else 0.0
            writer.metric(run, key, list(axes), loss.mean(axis=(0, -1)) - change)
        writer.metric(run, "correct", list(axes), top1.mean(axis=(0, -1)), units="1")
        writer.metric(run, "base_loss", ["all"], [self.base_loss.mean()])
        writer.metric(run, "base_correct", ["all"], [self.base_top1.mean()])

    def _write_results(self, has_edges):
        with h5py.File(self.results, "w") as file:
            file.attrs["format"], file.attrs["key"] = text("mechsweep-results"), text("cd" * 32)
            prompts = file.create_group(f"prompts/copy/{self.model}")
            prompts.attrs["kind"] = text("unique_copy")
            prompts.attrs["parameters"] = text(json.dumps({"length": self.length}))
            spans = json.dumps({"second": [self.length + 2, 2 * self.length + 2]})
            prompts.create_dataset("spans", data=texts([spans] * PROMPTS))
            self._datasets(
                file.create_group(f"runs/alignment/{self.model}/copy"),
                {one: (values, ["layer", "head"]) for one, values in self.attention.items()},
            )
            if has_edges:
                axes = ["set", "pairs", "edit"]
                self._edge_results(file, "edges", PAIRS, axes, self.loss, self.top1)
                pairs, axes = ["random.pairs.induction"], [*axes, "draw"]
                self._edge_results(file, "random", pairs, axes, self.random_loss, self.random_top1)

    def _edge_results(self, file, experiment, pairs, axes, loss, top1):
        group = file.create_group(f"runs/{experiment}/{self.model}/copy")
        for name, labels in (("set", ["all_together"]), ("pairs", pairs), ("edit", EDITS)):
            group.create_dataset(name, data=texts(list(labels))).make_scale(name)
        answers = np.ones((PROMPTS, self.length, 1), dtype=np.int32)
        self._datasets(
            group,
            {
                "loss": (loss, [*axes, "target"]),
                "top1": (top1, [*axes, "target"]),
                "base/loss": (self.base_loss, ["target"]),
                "base/top1": (self.base_top1, ["target"]),
                "base/tracked_token": (answers, ["target", "tracked"]),
            },
        )

    @staticmethod
    def _datasets(group, datasets):
        for name, (values, axes) in datasets.items():
            made = group.create_dataset(name, data=values)
            for place, axis in enumerate(["prompt", *axes]):
                if axis not in group:
                    group.create_dataset(axis, data=np.arange(values.shape[place])).make_scale(axis)
                made.dims[place].attach_scale(group[axis])
