"""Goldens of GGUF files: the sha256 of tensors as the gguf package reads them, in fp32.

    python golden_gguf.py [MODEL.gguf ...]              # writes formats.gguf and gguf_hashes.json
    python golden_gguf.py --all OUT.json MODEL.gguf ... # every tensor of some files, whole

The first keeps some tensors of each type of each model (name the files under models/ that
scripts/fetch_model.sh fetches). The second is for a check by hand: with
MECHSWEEP_GGUF_HASHES=OUT.json in the environment, `model_tests --gtest_filter='*GgufHashes*'`
compares all of them.
"""

import argparse
import hashlib
import json
from pathlib import Path

import gguf
import numpy as np
from golden_files import HERE, made_by, write_json

ROOT = HERE.parents[1]
FORMATS = HERE / "formats.gguf"
# Where the half-precision scales of a block are; random bytes there would be NaN or huge.
SCALES = {
    "Q8_0": [0],
    "Q4_0": [0],
    "Q4_1": [0, 2],
    "Q5_0": [0],
    "Q5_1": [0, 2],
    "IQ4_NL": [0],
    "Q2_K": [80, 82],
    "Q3_K": [108],
    "Q4_K": [0, 2],
    "Q5_K": [0, 2],
    "Q6_K": [208],
}
HASHED_ROWS = 2048  # of a tensor, where not all are


def random_rows(rng, name, rows, values):
    """The bytes of so many rows of so many values: [rows, bytes]."""
    per_block, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
    blocks = rng.integers(0, 256, (rows * values // per_block, size), dtype=np.uint8)
    for at in SCALES[name]:
        scales = rng.normal(size=len(blocks)).astype("<f2")
        blocks[:, at : at + 2] = scales.view(np.uint8).reshape(-1, 2)
    return blocks.reshape(rows, -1)


def write_formats():
    """A file with a tensor of every type that we read, written by the package."""
    rng = np.random.default_rng(11)
    writer = gguf.GGUFWriter(FORMATS, "llama")
    writer.add_custom_alignment(64)
    floats = rng.normal(size=(3, 512)).astype("<f4")
    writer.add_tensor("matrix.F32", floats)
    writer.add_tensor("matrix.F16", floats.astype("<f2"))
    halves = (floats.view("<u4") >> 16).astype("<u2").view(np.uint8)
    writer.add_tensor("matrix.BF16", halves, raw_dtype=gguf.GGMLQuantizationType.BF16)
    for name in SCALES:
        kind = gguf.GGMLQuantizationType[name]
        writer.add_tensor(f"matrix.{name}", random_rows(rng, name, 3, 512), raw_dtype=kind)
    writer.add_tensor("cube.F16", rng.normal(size=(2, 3, 5)).astype("<f2"))
    writer.add_tensor("vector.F32", rng.normal(size=7).astype("<f4"))
    vector = random_rows(rng, "Q5_1", 1, 96).ravel()
    writer.add_tensor("vector.Q5_1", vector, raw_dtype=gguf.GGMLQuantizationType.Q5_1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(f"{FORMATS.name}: {FORMATS.stat().st_size} bytes", flush=True)


def hashed(tensor, rows):
    """The entry of a tensor's first rows."""
    shape = [int(extent) for extent in reversed(tensor.shape)]
    rows = min(rows, shape[0])
    data = np.asarray(tensor.data)
    digest = hashlib.sha256()
    if len(shape) == 1:  # its rows are values, of which a block holds several
        assert rows == shape[0]
        values = gguf.quants.dequantize(data, tensor.tensor_type)
        digest.update(values.astype("<f4").tobytes())
    for begin in range(0, rows if len(shape) > 1 else 0, HASHED_ROWS):
        part = np.ascontiguousarray(data[begin : min(begin + HASHED_ROWS, rows)])
        values = gguf.quants.dequantize(part, tensor.tensor_type)
        digest.update(values.astype("<f4").tobytes())
    return {
        "name": tensor.name,
        "type": tensor.tensor_type.name,
        "shape": shape,
        "rows": rows,
        "sha256": digest.hexdigest(),
    }


def some_tensors(tensors):
    """The first, a middle and the last one of each type."""
    kinds = {}
    for tensor in tensors:
        kinds.setdefault(tensor.tensor_type, []).append(tensor)
    chosen = [one for kind in kinds.values() for one in (kind[0], kind[len(kind) // 2], kind[-1])]
    return list({tensor.name: tensor for tensor in chosen}.values())


def relative(path):
    path = Path(path).resolve()
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def file_entry(path, whole):
    tensors = gguf.GGUFReader(path).tensors
    if whole:
        entries = [hashed(tensor, int(tensor.shape[-1])) for tensor in tensors]
    else:
        entries = [hashed(tensor, HASHED_ROWS) for tensor in some_tensors(tensors)]
    return {"file": relative(path), "in_file": len(tensors), "tensors": entries}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", type=Path, metavar="MODEL.gguf")
    parser.add_argument("--all", type=Path, metavar="OUT.json", help="hash every tensor, whole")
    arguments = parser.parse_args()
    by = made_by("gguf", "numpy") | {"script": "tests/golden/golden_gguf.py"}
    note = "sha256 of the first rows in fp32, little-endian; files relative to the project"
    content = {"made_by": by, "note": note}
    if arguments.all:
        content["files"] = [file_entry(path, True) for path in arguments.models]
        arguments.all.write_text(json.dumps(content), encoding="utf-8")
        return
    write_formats()
    content["files"] = [file_entry(FORMATS, True)]
    content["files"] += [file_entry(path, False) for path in arguments.models]
    write_json("gguf_hashes.json", content, 4)


if __name__ == "__main__":
    main()
