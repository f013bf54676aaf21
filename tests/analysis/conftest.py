"""Makes the package importable from the checkout, and gives tests a summary to draw."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "analysis"))

from summary_writer import SummaryWriter  # noqa: E402

# L1H2 raises the loss most, L0H3 lowers it most.
EFFECTS = np.array([[0.1, 0.0, 0.2, -0.75], [0.3, -0.2, 1.5, 0.05]])
SCORES = np.array([[0.0, 0.1, 0.2, 0.3], [0.4, 0.5, 0.6, 0.9]])
WARNING = "the model answers none of <these> prompts right"
LAYER_HEAD = ["layer", "head"]


@pytest.fixture
def plain_path(tmp_path):
    """A summary without anything to draw, for tests of what is around the figures."""
    path = tmp_path / "small.summary.h5"
    with SummaryWriter(path) as writer:
        run = writer.run("scores/tiny/repeat", {})
        writer.metric(run, "base_loss", ["all"], [3.8])
    return path


@pytest.fixture
def summary_path(tmp_path):
    """A summary with a run of every kind, of a model with 2 layers of 4 heads."""
    path = tmp_path / "small.summary.h5"
    with SummaryWriter(path) as writer:
        writer.model("tiny", 2, 4)
        axes = {"layer": [0, 1], "head": [0, 1, 2, 3]}
        heads = writer.run("heads/tiny/abna", axes, warnings=[WARNING])
        writer.metric(heads, "delta_loss", LAYER_HEAD, EFFECTS, long_name="change of loss")
        writer.metric(heads, "delta_margin", LAYER_HEAD, -2 * EFFECTS, units="1")
        writer.metric(heads, "loss", LAYER_HEAD, 3.8 + EFFECTS)
        writer.metric(heads, "delta_loss_layer_profile", ["layer"], EFFECTS.mean(axis=1))
        writer.metric(heads, "base_loss", ["all"], [3.8])
        missing = float("nan")
        scores = writer.run(
            "scores/tiny/repeat",
            axes,
            kind="attention_scores",
            base_loss=missing,
            base_accuracy=missing,
        )
        writer.metric(scores, "induction", LAYER_HEAD, SCORES, half_width=0.02, units="1")
        patching = writer.run(
            "resid/tiny/abna",
            {"layer": [0, 1], "position": [0, 1, 2]},
            kind="activation_patching",
            direction="clean_to_corrupt",
        )
        grid = [[0.0, 0.01, 1.0], [-0.5, 0.4, 1.02]]
        writer.metric(patching, "recovery_loss", ["layer", "position"], grid, units="1")
        sets = writer.run(
            "sets/tiny/abna", {"set": ["movers", "top_2"], "operation": ["zero", "resample"]}
        )
        effects = [[0.5, 0.4], [1.5, -0.2]]
        writer.metric(sets, "delta_loss", ["set", "operation"], effects)
    return path
