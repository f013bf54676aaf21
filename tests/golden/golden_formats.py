"""Goldens of file formats: GGUF's block types and the tensors of safetensors files."""

import math

import gguf
import numpy as np
import torch
from golden_files import HERE, made_by, write_json
from golden_gguf import SCALES
from golden_results import CHECKPOINTS
from safetensors import safe_open

# Scale and minimum as bits of halves: the largest, the smallest subnormal, the largest subnormal,
# zeros, infinity, NaN.
EXTREMES = [
    (0x7BFF, 0x0001),
    (0x0001, 0xFBFF),
    (0x83FF, 0x8000),
    (0x7C00, 0x3C00),
    (0x7E00, 0x3C00),
]


def with_scales(block, name, halves):
    """A block with other scales, as bits."""
    block = bytearray(block)
    for at, bits in zip(SCALES[name], halves, strict=False):
        block[at : at + 2] = int(bits).to_bytes(2, "little")
    return bytes(block)


def quantised_cases(rng, name, size):
    """Blocks of random quants with scales of several sizes, of full quants, of extreme scales."""
    cases = []
    for order in range(4):
        scales = rng.normal(size=2) * (0.0 if order == 3 else 10.0**-order)
        block = rng.integers(0, 256, size, dtype=np.uint8).tobytes()
        if order == 2:
            block = b"\xff" * size
        cases.append(with_scales(block, name, scales.astype("<f2").view("<u2")))
    cases.append(cases[0] + cases[1])  # two blocks in one row
    block = rng.integers(0, 256, size, dtype=np.uint8).tobytes()
    return cases + [with_scales(block, name, halves) for halves in EXTREMES]


def make_dequant(_):
    rng = np.random.default_rng(7)
    types = {}
    for name in ("F16", "BF16", *SCALES):
        kind = gguf.GGMLQuantizationType[name]
        per_block, size = gguf.GGML_QUANT_SIZES[kind]
        cases = []
        if name == "F16":
            # Zeros of both signs, the smallest subnormal, the largest subnormal, the smallest
            # normal, the largest value, both infinities, and ordinary numbers.
            bits = [0, 0x8000, 1, 0x83FF, 0x0400, 0x7BFF, 0x7C00, 0xFC00, 0x3555, 0xC248]
            cases.append(np.array(bits, "<u2").tobytes())
            cases.append(rng.normal(size=32).astype("<f2").tobytes())
        elif name == "BF16":
            bits = [0, 0x8000, 1, 0x807F, 0x0080, 0x7F7F, 0x7F80, 0xFF80, 0x3EAB, 0xC049]
            cases.append(np.array(bits, "<u2").tobytes())
            cases.append((rng.normal(size=32).astype("<f4").view("<u4") >> 16).astype("<u2"))
            cases[-1] = cases[-1].tobytes()
        else:
            cases = quantised_cases(rng, name, size)
        rows = []
        for data in cases:
            raw = np.frombuffer(data, np.uint8)
            with np.errstate(all="ignore"):
                values = gguf.quants.dequantize(raw, kind).astype("<f4").ravel()
            values[np.isnan(values)] = np.nan  # which NaN it is depends on the processor
            rows.append({"blocks": data.hex(), "values": values.tobytes().hex()})
        types[name] = {
            "type_id": int(kind),
            "values_per_block": per_block,
            "bytes_per_block": size,
            "cases": rows,
        }
    note = "hex of the stored bytes; hex of the values as little-endian fp32, in order"
    write_json(
        "dequant.json", {"made_by": made_by("gguf", "numpy"), "note": note, "types": types}, 4
    )


def make_safetensors(_):
    names = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}
    checkpoints = {}
    folders = [*CHECKPOINTS]
    if (HERE / "checkpoints" / "tiny-induction").exists():
        folders.append("tiny-induction")
    for folder in folders:
        tensors = {}
        for path in sorted((HERE / "checkpoints" / folder).glob("*.safetensors")):
            with safe_open(path, "pt") as file:
                for key in file.keys():  # noqa: SIM118 (not a mapping)
                    tensor = file.get_tensor(key)
                    flat = tensor.double().ravel()
                    tensors[key] = {
                        "file": path.name,
                        "dtype": names[tensor.dtype],
                        "shape": list(tensor.shape),
                        "sum": math.fsum(flat.tolist()),
                        "first": flat[:4].tolist(),
                        "last": flat[-1].item(),
                    }
        checkpoints[folder] = dict(sorted(tensors.items()))
    by = made_by("torch", "safetensors")
    write_json("safetensors_values.json", {"made_by": by, "checkpoints": checkpoints}, 3)
