"""`correct_in`: only prompts that the models of a comparison answer right are counted.

Counts and means are compared with what NumPy makes of the stored base runs.
"""

import json
import shutil

import h5py
import numpy as np
import pytest
from stage_sweeps import heads, prompts, top
from system_program import CHECKPOINTS, USAGE, digest, must, run, write_config

COUNT = 40


def noisy_copy(folder, noise, seed):
    """The trained tiny model with noise on its unembedding: it gets some of the answers wrong."""
    copy = folder / f"noisy{seed}"
    shutil.copytree(CHECKPOINTS / "tiny-induction", copy)
    path = copy / "model.safetensors"
    content = bytearray(path.read_bytes())
    size = int.from_bytes(content[:8], "little")
    entry = json.loads(content[8 : 8 + size])["lm_head.weight"]
    assert entry["dtype"] == "F32"
    begin, end = (8 + size + offset for offset in entry["data_offsets"])
    weights = np.frombuffer(bytes(content[begin:end]), dtype="<f4")
    spread = np.random.default_rng(seed).normal(scale=noise * weights.std(), size=weights.size)
    content[begin:end] = (weights + spread).astype("<f4").tobytes()
    path.write_bytes(content)
    return copy


def models(folder):
    entries = [{"id": "good", "path": str(CHECKPOINTS / "tiny-induction")}]
    for seed in (1, 2):
        entries.append({"id": f"noisy{seed}", "path": str(noisy_copy(folder, 3.0, seed))})
    return entries


def counted(experiment, correct_in):
    statistics = {"correct_in": correct_in, "bootstrap": {"resamples": 200}}
    return experiment | {"statistics": statistics}


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    folder = tmp_path_factory.mktemp("correct")
    experiments = [
        heads(),
        counted(heads("all"), "all_models"),
        counted(heads("own"), "own_model"),
        counted(heads("listed"), ["noisy2"]),
        counted(top("half", k=[1]), "all_models"),
        counted(
            {"id": "scores", "kind": "attention_scores", "scores": ["induction"]}, "all_models"
        ),
    ]
    config = write_config(
        folder / "c.yaml", models(folder), [prompts(count=COUNT, period=12)], experiments
    )
    must("run", config, "--out", folder / "r.h5")
    must("reduce", folder / "r.h5")
    return folder


def right_answers(file, model, experiment="heads"):
    group = file[f"runs/{experiment}/{model}/p/base"]
    return group["top1"][()] == group["tracked_token"][:, 0]


MODELS = ("good", "noisy1", "noisy2")


def test_the_models_get_some_right_and_not_the_same_ones(sweep):
    with h5py.File(sweep / "r.h5") as file:
        right = [right_answers(file, model) for model in MODELS]
    for one in right[1:]:
        assert 5 < one.sum() < COUNT
    assert (right[1] != right[2]).any()


@pytest.mark.parametrize("experiment", ["all", "own", "listed", "half", "scores"])
@pytest.mark.parametrize("model", MODELS)
def test_counts_and_means_are_those_of_numpy(sweep, experiment, model):
    deciding = {"own": [model], "listed": ["noisy2"]}.get(experiment, list(MODELS))
    with h5py.File(sweep / "r.h5") as file, h5py.File(sweep / "r.summary.h5") as made:
        group = file[f"runs/{experiment}/{model}/p"]
        right = [right_answers(file, one) for one in deciding]
        tried = np.ones(COUNT, bool)
        if experiment == "half":
            tried = group["selection/evaluated_on"][()] == 1
        keep = np.logical_and.reduce(right) & tried
        summary = made[f"runs/{experiment}/{model}/p"]
        attributes = dict(summary.attrs)
        assert [name.decode() for name in attributes["correct_in_models"]] == deciding
        assert attributes["correct_in_right"].tolist() == [(one & tried).sum() for one in right]
        assert attributes["correct_in_kept"] == attributes["n_prompts"] == keep.sum() > 0
        assert attributes["correct_in_prompts"] == tried.sum()
        if experiment == "scores":
            expected = group["induction"][()][keep].mean(axis=0)
            assert np.allclose(summary["induction/mean"], expected, rtol=1e-12)
            return
        base = group["base/loss"][()].reshape(-1, *[1] * (group["loss"].ndim - 1))
        expected = (group["loss"][()] - base)[keep].mean(axis=0)
        assert np.allclose(summary["delta_loss/mean"], expected, rtol=1e-9, atol=1e-12)
        assert (summary["delta_loss/prompts"][()] == keep.sum()).all()
        # How well the model does the task is said of all prompts, or it would always be 1.
        own = right_answers(file, model)[tried]
        assert attributes["base_accuracy"] == pytest.approx(own.mean())


def test_the_table_for_people_has_the_counts(sweep):
    document = json.loads((sweep / "r.summary.json").read_text())
    runs = {one["run"]: one for one in document["runs"]}
    one = runs["all/noisy1/p"]
    assert one["correct_in"] == "all_models"
    assert one["correct_in_models"] == list(MODELS)
    assert one["correct_in_kept"] == one["n_prompts"] <= min(one["correct_in_right"])
    assert "correct_in" not in runs["heads/noisy1/p"]


def test_too_few_right_answers_are_said(folder):
    """A random model beside the trained one: no prompt is left."""
    entries = [
        {"id": "good", "path": str(CHECKPOINTS / "tiny-induction")},
        {"id": "bad", "path": str(noisy_copy(folder / "in", 1000.0, 5))},
    ]
    config = write_config(
        folder / "in" / "c.yaml",
        entries,
        [prompts(count=12, period=12)],
        [counted(heads(), "all_models")],
    )
    results = folder / "out" / "r.h5"
    must("run", config, "--out", results, ranks=2)
    outcome = must("reduce", results)
    assert "correct_in (all_models) leaves 0 of 12 prompts" in outcome.err
    with h5py.File(folder / "out" / "r.summary.h5") as made:
        group = made["runs/heads/good/p"]
        assert group.attrs["n_prompts"] == 0
        assert group.attrs["correct_in_right"].tolist() == [12, 0]
        assert group.attrs["base_accuracy"] == 1


def test_the_filter_changes_no_number_of_the_results(folder):
    """Everything is computed for all prompts; the filter is of the statistics."""
    digests, entries = [], models(folder / "in")
    for name, experiment in [("with", counted(heads(), "own_model")), ("without", heads())]:
        config = write_config(folder / "in" / f"{name}.yaml", entries, [prompts()], [experiment])
        must("run", config, "--out", folder / "out" / f"{name}.h5")
        digests.append(digest(folder / "out" / f"{name}.h5"))
    assert digests[0] == digests[1]


def test_what_cannot_be_known_is_refused_before_anything_runs(folder):
    scores = {"id": "scores", "kind": "attention_scores", "scores": ["induction"]}
    for experiments, message in [
        ([counted(heads(), ["god"])], "did you mean 'good'?"),
        ([counted(heads(), "all")], "correct_in: "),
        ([counted(heads(), [])], "correct_in: names no model"),
        ([counted(heads(), ["good", "good"])], "names 'good' twice"),
        (
            [counted(scores, "all_models")],
            "experiment 'scores': `correct_in` asks which of the prompts 'p' model 'good' answers",
        ),
        (
            [counted(scores, "all_models"), heads(models=["good"])],
            "model 'noisy1' answers right, but no experiment runs the model on them",
        ),
    ]:
        entries = [
            {"id": name, "path": str(CHECKPOINTS / "tiny-induction")} for name in ("good", "noisy1")
        ]
        config = write_config(folder / "in" / "c.yaml", entries, [prompts()], experiments)
        outcome = run("run", config, "--out", folder / "out" / "r.h5")
        assert outcome.status == USAGE, outcome.err
        assert message in outcome.err
