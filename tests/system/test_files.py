"""Results and summaries are plain HDF5: h5py alone has to find its way through them."""

import hashlib
import importlib.util
import json

import h5py
import numpy as np
import pytest
from system_program import CHECKPOINTS, model_entry, must, prompt_file, write_config

RUNS = ("heads/llama-random/random_llama", "patch/llama-random/random_llama")
SCORES = "scores/llama-random/random_llama"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(config's text, results, summary)"""
    folder = tmp_path_factory.mktemp("files")
    config = write_config(
        folder / "sweep.yaml",
        [model_entry("llama-random")],
        [prompt_file("random_llama")],
        [
            {"id": "heads", "kind": "head_ablation", "operation": "zero", "positions": "targets"},
            {
                "id": "patch",
                "kind": "activation_patching",
                "site": "resid_mid",
                "direction": "corrupt_to_clean",
                "positions": "each",
            },
            {"id": "scores", "kind": "attention_scores", "scores": ["induction", "copy"]},
        ],
    )
    must("run", config, "--out", folder / "r.h5")
    must("reduce", folder / "r.h5")
    return config.read_text(), folder / "r.h5", folder / "r.summary.h5"


def text(value) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def all_datasets(file: h5py.File) -> dict:
    found = {}
    file.visititems(
        lambda name, thing: found.update({name: thing}) if isinstance(thing, h5py.Dataset) else None
    )
    return found


def check_scales(file: h5py.File):
    """Every axis below /runs has one scale of its length, in reach of netCDF readers."""
    checked = 0
    for name, dataset in all_datasets(file).items():
        if not name.startswith("runs/") or dataset.is_scale:
            continue
        for axis, dimension in enumerate(dataset.dims):
            assert len(dimension) == 1, (name, axis)
            scale = dimension[0]
            assert scale.shape == (dataset.shape[axis],), (name, axis)
            parent = dataset.parent
            assert scale.parent in (parent, parent.parent), (name, scale.name)
            checked += 1
    assert checked > 30


def test_root_says_what_the_file_is(made):
    config, results, summary = made
    with h5py.File(results) as file:
        assert text(file.attrs["format"]) == "mechsweep-results"
        assert file.attrs["format_version"] == 1
        assert text(file.attrs["config"]) == config
        assert len(text(file.attrs["key"])) == 64
        assert file.attrs["seed"] == 11
        assert text(file.attrs["name"]) == "test"
        key = text(file.attrs["key"])
    with h5py.File(summary) as file:
        assert text(file.attrs["format"]) == "mechsweep-summary"
        assert text(file.attrs["source_key"]) == key


def test_models_and_prompts_are_described(made):
    _, results, _ = made
    with h5py.File(results) as file:
        model = file["models/llama-random"].attrs
        assert text(model["architecture"]) == "llama"
        sizes = {name: model[name] for name in ("n_layers", "n_heads", "n_kv_heads", "vocab_size")}
        assert sizes == {"n_layers": 3, "n_heads": 4, "n_kv_heads": 2, "vocab_size": 101}
        files = {one["name"]: one for one in json.loads(text(model["files"]))}
        assert files["model.safetensors"]["size_bytes"] == 117328
        prompts = file["prompts/random_llama/llama-random"]
        assert prompts["lengths"][()].tolist() == [1, 4, 7, 11, 14]
        assert prompts["tokens"].shape == (5, 14)
        assert prompts["tokens"][1].tolist() == [76, 10, 10, 79] + [-1] * 10  # padded
        assert [text(t) for t in prompts["template"]] == ["t0", "t1", "t0", "t1", "t0"]
        assert [text(t) for t in prompts["id"]] == [f"random{i}" for i in range(5)]


def test_hashes_are_those_of_the_files(made):
    _, results, _ = made
    with h5py.File(results) as file:
        for one in json.loads(text(file["models/llama-random"].attrs["files"])):
            content = (CHECKPOINTS / "llama-random" / one["name"]).read_bytes()
            assert one["sha256"] == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("run", [*RUNS, SCORES])
def test_runs_carry_their_definitions(made, run):
    _, results, _ = made
    with h5py.File(results) as file:
        attributes = {name: text(value) for name, value in file[f"runs/{run}"].attrs.items()}
    for name in (
        "estimand",
        "site",
        "operation",
        "positions",
        "downstream",
        "prefix",
        "dtype",
        "kernels",
        "seed",
        "model_hash",
        "prompts_hash",
        "transformer_lens_hook",
        "transformers_path",
    ):
        assert attributes[name], name
    assert any(name.startswith("definition_") for name in attributes)
    if run == SCORES:
        assert attributes["query_set"]


def test_types_and_axes(made):
    _, results, _ = made
    with h5py.File(results) as file:
        run = file[f"runs/{RUNS[1]}"]
        assert run["loss"].dtype == np.dtype("<f8")
        assert run["logit"].dtype == np.dtype("<f4")
        assert run["top1"].dtype == np.dtype("<i4")
        names = [dimension[0].name.rsplit("/", 1)[-1] for dimension in run["loss"].dims]
        assert names == ["prompt", "layer", "position", "target"]
        assert run["base/loss"].shape == (5, 3)
        assert np.isfinite(file[f"runs/{SCORES}/copy"][()]).all()
        lengths = file["prompts/random_llama/llama-random/lengths"][()]
        for prompt, length in enumerate(lengths):  # beyond a prompt's end nothing applies
            losses = run["loss"][prompt, :, :, 0]
            assert np.isfinite(losses[:, :length]).all()
            assert np.isnan(losses[:, length:]).all()


@pytest.mark.parametrize("which", [1, 2])
def test_dimension_scales_resolve(made, which):
    with h5py.File(made[which]) as file:
        check_scales(file)


def test_nothing_in_them_needs_more_than_plain_hdf5(made):
    for path in made[1:]:
        with h5py.File(path) as file:
            for name, dataset in all_datasets(file).items():
                assert dataset.chunks is None, name
                assert dataset.compression is None, name
                assert dataset.external is None and not dataset.is_virtual, name


def test_files_carry_no_word_of_this_machine(made):
    """Or the same sweep would not give the same file in another folder."""
    with h5py.File(made[1]) as file:
        text_of_prompts = [
            text(v) for v in file["prompts/random_llama/llama-random"].attrs.values()
        ]
    assert not any(str(made[1].parent) in one for one in text_of_prompts)


@pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("xarray", "h5netcdf")),
    reason="xarray with h5netcdf is not installed here (scripts/envs/references.txt has it)",
)
@pytest.mark.parametrize("which", [1, 2])
def test_xarray_opens_them(made, which):
    import xarray

    group = f"runs/{RUNS[0]}" + ("" if which == 1 else "/delta_loss")
    name = "loss" if which == 1 else "mean"
    with xarray.open_dataset(made[which], engine="h5netcdf", group=group) as data:
        assert "layer" in data[name].dims and "head" in data[name].dims
        assert data[name].sizes["layer"] == 3
