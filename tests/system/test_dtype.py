"""What a run's dtype changes, and what it must not."""

import json
import math
import shutil
import struct

import pytest
from refusals import check_refused
from system_program import (
    CHECKPOINTS,
    INPUT,
    RESOURCE,
    digest,
    export_rows,
    model_entry,
    must,
    prompt_file,
    run,
    write_config,
)

DTYPES = ("float32", "bfloat16", "float16")
MODEL = "llama-random"
HEADS = {"id": "heads", "kind": "head_ablation", "operation": "zero", "positions": "all"}
# oneDNN's own switch: as on a processor without float16 arithmetic.
NO_FLOAT16 = {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}


def config_for(folder, dtype, model=None, kernels="native"):
    return write_config(
        folder / "in" / f"{dtype}.yaml",
        [(model or model_entry(MODEL)) | {"dtype": dtype}],
        [prompt_file("random_llama")],
        [HEADS],
        execution={"threads_per_rank": 1, "kernels": kernels},
    )


def losses(results) -> list[float]:
    return [float(row["value"]) for row in export_rows(results) if row["metric"] == "loss"]


def spoiled_model(folder, tensor: str, value: float) -> dict:
    """The model with the first number of a float32 tensor replaced."""
    path = folder / "in" / "model"
    shutil.copytree(CHECKPOINTS / MODEL, path)
    file = path / "model.safetensors"
    content = bytearray(file.read_bytes())
    (size,) = struct.unpack_from("<Q", content)
    header = json.loads(content[8 : 8 + size])
    assert header[tensor]["dtype"] == "F32"
    struct.pack_into("<f", content, 8 + size + header[tensor]["data_offsets"][0], value)
    file.write_bytes(content)
    return {"id": MODEL, "path": str(path)}


def test_each_dtype_has_its_own_numbers_on_any_number_of_ranks(folder):
    found = {}
    all_digests = set()
    for dtype in DTYPES:
        digests = set()
        for ranks in (None, 2):
            results = folder / "out" / f"{dtype}{ranks}.h5"
            must("run", config_for(folder, dtype), "--out", results, ranks=ranks)
            digests.add(digest(results))
        assert len(digests) == 1, dtype
        all_digests |= digests
        found[dtype] = losses(results)
    assert len(all_digests) == len(DTYPES)
    exact = found["float32"]
    assert len(exact) > 50
    assert all(math.isfinite(loss) for loss in exact)
    spread = {
        dtype: max(abs(a - b) for a, b in zip(values, exact, strict=True))
        for dtype, values in found.items()
    }
    # Eleven bits against eight, both against twenty-four.
    assert 0 < spread["float16"] < spread["bfloat16"] < 0.1


@pytest.mark.parametrize("kernels", ["onednn", "aten"])
@pytest.mark.parametrize("ranks", [None, 2])
def test_a_library_that_cannot_is_refused_before_anything_is_written(folder, kernels, ranks):
    config = config_for(folder, "float16", kernels=kernels)
    words = [kernels, "float16", "this processor", "native"]
    command = ["run", config, "--out", folder / "out" / "r.h5"]
    check_refused(folder, command, RESOURCE, words, ranks=ranks, environment=NO_FLOAT16)


def test_native_needs_no_float16_arithmetic(folder):
    digests = set()
    for name, environment in {"with": None, "without": NO_FLOAT16}.items():
        results = folder / "out" / f"{name}.h5"
        config = config_for(folder, "float16")
        must("run", config, "--out", results, environment=environment)
        digests.add(digest(results))
    assert len(digests) == 1


def test_a_weight_beyond_float16_is_refused_with_its_tensor(folder):
    tensor = "model.layers.1.mlp.up_proj.weight"
    model = spoiled_model(folder, tensor, 65520.0)
    outcome = run("run", config_for(folder, "float16", model), "--out", folder / "out" / "r.h5")
    assert outcome.status == INPUT, outcome.err
    for word in (tensor, "65520", "float16", "65504"):
        assert word in outcome.err
    must("run", config_for(folder, "float32", model), "--out", folder / "out" / "wide.h5")


def test_activations_beyond_float16_are_counted(folder):
    """A gain that float16 can hold, but not what it is multiplied with."""
    model = spoiled_model(folder, "model.layers.1.input_layernorm.weight", 65000.0)
    wide = folder / "out" / "wide.h5"
    must("run", config_for(folder, "float32", model), "--out", wide)
    assert len(losses(wide)) > 50
    results = folder / "out" / "r.h5"
    outcome = must("run", config_for(folder, "float16", model), "--out", results)
    assert "NaN or infinite" in outcome.err
    assert 0 < len(losses(results)) < len(losses(wide))  # export leaves gaps for the others


def test_the_self_test_takes_every_dtype():
    for dtype in DTYPES:
        assert f"in {dtype} [" in must("selftest", "--dtype", dtype).out
    outcome = run("selftest", "--dtype", "float16", "--kernels", "onednn", environment=NO_FLOAT16)
    assert outcome.status == RESOURCE
    assert "kernels 'onednn' cannot multiply float16 on this processor" in outcome.out
