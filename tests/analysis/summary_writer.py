"""Writes small summary and results files as docs/results-file.md describes them (version 1)."""

import json

import h5py
import numpy as np

STATISTICS = ("mean", "standard_error", "percentile_low", "percentile_high", "bca_low", "bca_high")
CONFIG = "name: small\nseed: 42\n"


def text(value):
    """As the C++ program stores texts: of fixed length, UTF-8."""
    data = value.encode("utf-8")
    return np.array(data, dtype=h5py.string_dtype("utf-8", max(len(data), 1)))


def texts(values):
    """A list of texts; an empty one is the JSON text []."""
    if not values:
        return text("[]")
    encoded = [value.encode("utf-8") for value in values]
    return np.array(encoded, dtype=h5py.string_dtype("utf-8", max(map(len, encoded))))


class SummaryWriter:
    """Use as a context manager; `root` overrides root attributes."""

    def __init__(self, path, **root):
        self.file = h5py.File(path, "w")
        attributes = {
            "format": "mechsweep-summary",
            "format_version": 1,
            "config": CONFIG,
            "key": "ab" * 32,
            "source": "small.h5",
            "source_key": "cd" * 32,
            "software_version": "0.1.0",
            "seed": 42,
            "name": "small",
            "kernels": "native",
        } | root
        for name, value in attributes.items():
            self.file.attrs[name] = text(value) if isinstance(value, str) else value

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def model(self, name, layers, heads):
        group = self.file.require_group(f"models/{name}")
        group.attrs["architecture"] = text("llama")
        group.attrs["n_layers"] = layers
        group.attrs["n_heads"] = heads

    def run(self, run_id, axes, warnings=(), **attributes):
        """Makes a run; `axes` maps names to coordinates (numbers or labels). Returns its group."""
        group = self.file.create_group(f"runs/{run_id}")
        values = {
            "kind": "head_ablation",
            "run_id": run_id,
            "estimand": "z zeroed at all positions, downstream recomputed",
            "site": "z",
            "operation": "zero",
            "positions": "all",
            "direction": "",
            "prefix": "bos",
            "definition_loss": "-log softmax(logits)[answer], nats",
            "resamples": 10000,
            "level": 0.95,
            "interval": "bca",
            "transformer_lens_hook": "blocks.{layer}.attn.hook_z",
            "transformers_path": "model.layers.{layer}.self_attn.o_proj",
            "n_prompts": 64,
            "n_clusters": 64,
            "base_loss": 3.8,
            "base_accuracy": 0.28,
            "candidate_accuracy": float("nan"),
            "chance_loss": 3.258,
            "chance_accuracy": 0.03846,
        } | attributes
        for name, value in values.items():
            group.attrs[name] = text(value) if isinstance(value, str) else value
        group.attrs["warnings"] = texts(list(warnings))
        for name, coordinates in {"all": [0], **axes}.items():
            self._axis(group, name, coordinates)
        return group

    def metric(
        self, run, name, axes, mean, *, half_width=0.1, long_name="", units="nats", rank=None
    ):
        """One metric; BCa ends are mean -+ half_width, percentile ends twice as far away."""
        mean = np.asarray(mean, dtype=np.float64)
        group = run.create_group(name)
        group.attrs["long_name"] = text(long_name or name)
        group.attrs["units"] = text(units)
        half_width = np.broadcast_to(half_width, mean.shape)
        arrays = {
            "mean": mean,
            "standard_error": half_width / 2,
            "percentile_low": mean - 2 * half_width,
            "percentile_high": mean + 2 * half_width,
            "bca_low": mean - half_width,
            "bca_high": mean + half_width,
            "prompts": np.full(mean.shape, run.attrs["n_prompts"], dtype=np.int32),
            "clusters": np.full(mean.shape, run.attrs["n_clusters"], dtype=np.int32),
        }
        if "layer" in axes and "head" in axes:
            order = np.argsort(-mean.ravel(), kind="stable")
            ranks = np.empty(mean.size, dtype=np.int32)
            ranks[order] = np.arange(1, mean.size + 1)
            arrays["rank"] = ranks.reshape(mean.shape) if rank is None else np.asarray(rank)
        for array_name, array in arrays.items():
            dataset = group.create_dataset(array_name, data=array)
            for place, axis in enumerate(axes):
                dataset.dims[place].attach_scale(run[axis])
        return group

    @staticmethod
    def _axis(group, name, coordinates):
        labels = isinstance(coordinates[0], str)
        data = texts(list(coordinates)) if labels else np.asarray(coordinates, dtype=np.int32)
        group.create_dataset(name, data=data).make_scale(name)


def write_results(path, attempts, key="cd" * 32):
    """A results file with nothing but what the report reads of it."""
    records = np.zeros((8, 4096), dtype=np.uint8)
    for slot, facts in enumerate(attempts):
        data = json.dumps(facts).encode()
        records[slot, : len(data)] = np.frombuffer(data, dtype=np.uint8)
    with h5py.File(path, "w") as file:
        file.attrs["format"] = text("mechsweep-results")
        file.attrs["format_version"] = 1
        file.attrs["key"] = text(key)
        file.create_dataset("attempts", data=records)
