"""Seeds for the readers of safetensors files and of their index."""

import json
import struct

from seed_parts import EDGES, GOLDEN, as_bytes, deep_lists, deep_objects, with_deep_value


def safetensors(header, data, length=None):
    text = header if isinstance(header, bytes) else as_bytes(header)
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def safetensors_seeds():
    sound = {
        "__metadata__": {"format": "pt"},
        "a.weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
        "b": {"dtype": "BF16", "shape": [4], "data_offsets": [24, 32]},
        "c": {"dtype": "F16", "shape": [2, 1, 2], "data_offsets": [32, 40]},
        "mask": {"dtype": "I64", "shape": [1], "data_offsets": [40, 48]},
        "scalar": {"dtype": "F32", "shape": [], "data_offsets": [48, 52]},
        "empty": {"dtype": "F32", "shape": [0, 5], "data_offsets": [52, 52]},
    }
    data = bytes(range(52))
    yield "sound", safetensors(sound, data)
    for name, length in EDGES.items():
        if 0 <= length < 2**64:
            yield f"length_{name}", safetensors(sound, data, length)
    yield "deep_lists", safetensors(deep_lists(), b"")
    yield "deep_objects", safetensors(deep_objects(), b"")
    yield "pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    yield "nothing", b""
    yield "cut", safetensors(sound, data)[:40]

    def one(shape, offsets, more=None, dtype="F32"):
        tensor = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
        return safetensors({"t": tensor} | (more or {}), bytes(16))

    other = {"u": {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]}}
    yield "overlap", one([3], [0, 12], other)
    yield (
        "same_bytes",
        one([4], [0, 16], {"u": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}),
    )
    yield "gap", one([1], [0, 4], other)
    yield "outside", one([8], [0, 32])
    yield "backwards", one([1], [8, 4])
    yield (
        "twice",
        safetensors(
            b'{"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
            b'"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
            bytes(4),
        ),
    )
    for name, number in EDGES.items():
        yield f"shape_{name}", one([number], [0, 16])
        yield f"offsets_{name}", one([4], [number, number])
        yield f"end_{name}", one([4], [0, number])
    yield "shape_overflow", one([2**32, 2**32], [0, 0])
    yield "shape_empty_overflow", one([2**40, 2**40, 0], [0, 0])
    yield "many_empty_rows", one([2**62, 0], [0, 0])


def index_seeds():
    folder = GOLDEN / "checkpoints" / "llama-random-sharded"
    sound = json.loads((folder / "model.safetensors.index.json").read_text())
    yield "sound", as_bytes(sound)
    first = next(iter(sound["weight_map"]))
    for name, shard in {
        "above": "../model.safetensors",
        "absolute": "/etc/passwd",
        "missing": "model-00003-of-00002.safetensors",
        "itself": "model.safetensors.index.json",
        "short": "short.safetensors",
        "folder": ".",
        "nul": "a\0b",
        "number": 7,
    }.items():
        yield name, as_bytes({"weight_map": sound["weight_map"] | {first: shard}})
    yield "deep", with_deep_value(sound, "metadata")
    yield "none", b'{"weight_map":{}}'
    yield "one", as_bytes({"weight_map": {first: "model-00001-of-00002.safetensors"}})
