"""Model files that are cut, hostile, unknown or at odds with their config: see refusals.py."""

import json
import shutil
import struct

import pytest
from refusals import check_refused, config_of
from system_program import CHECKPOINTS, INPUT


def copy_of_model(folder, name="llama-random"):
    return shutil.copytree(CHECKPOINTS / name, folder / "in" / "model")


def safetensors(header: bytes, data: bytes = b"", length=None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def edit_header(folder, edit):
    """Rewrites the JSON header of the weights."""
    path = folder / "model.safetensors"
    content = path.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + size])
    edit(header)
    path.write_bytes(safetensors(json.dumps(header).encode(), content[8 + size :]))


def edit_config(folder, **changes):
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not ...}))


def weights(folder, content):
    path = folder / "model.safetensors"
    path.write_bytes(content(path.read_bytes()) if callable(content) else content)


NORM = "model.norm.weight"
FIRST = "model.layers.0.self_attn.q_proj.weight"
BAD_MODELS = {
    "weights cut in the middle": lambda m: weights(m, lambda c: c[: len(c) // 2]),
    "weights cut by one byte": lambda m: weights(m, lambda c: c[:-1]),
    "weights with bytes after the end": lambda m: weights(m, lambda c: c + b"\0" * 8),
    "weights cut in the header": lambda m: weights(m, lambda c: c[:100]),
    "weights of five bytes": lambda m: weights(m, lambda c: c[:5]),
    "empty weights": lambda m: weights(m, b""),
    "weights that are text": lambda m: weights(
        m, b"version https://git-lfs.github.com/spec/v1\n" * 3
    ),
    "header of 2^63 bytes": lambda m: weights(m, safetensors(b"{}", length=2**63)),
    "header of 2^64 - 1 bytes": lambda m: weights(m, safetensors(b"{}", length=2**64 - 1)),
    "header that is no JSON": lambda m: weights(m, safetensors(b'{"a": [1, 2')),
    "header that is a list": lambda m: weights(m, safetensors(b"[]")),
    "header nested deeply": lambda m: weights(m, safetensors(b'{"a":' * 100000)),
    "no tensors": lambda m: weights(m, safetensors(b"{}")),
    "a tensor is missing": lambda m: edit_header(m, lambda h: h.pop(FIRST)),
    "unknown dtype": lambda m: edit_header(m, lambda h: h[FIRST].update(dtype="F7")),
    "shape too large for its bytes": lambda m: edit_header(m, lambda h: h[NORM].update(shape=[64])),
    "shape whose size overflows": lambda m: edit_header(
        m, lambda h: h[NORM].update(shape=[2**32, 2**32])
    ),
    "negative shape": lambda m: edit_header(m, lambda h: h[NORM].update(shape=[-32])),
    "shape that is text": lambda m: edit_header(m, lambda h: h[NORM].update(shape="32")),
    "offsets beyond the end": lambda m: edit_header(
        m, lambda h: h[NORM].update(data_offsets=[10**9, 10**9 + 128])
    ),
    "offsets backwards": lambda m: edit_header(m, lambda h: h[NORM].update(data_offsets=[128, 0])),
    "offsets on another tensor": lambda m: edit_header(
        m,
        lambda h: h[NORM].update(
            data_offsets=h["model.layers.0.input_layernorm.weight"]["data_offsets"]
        ),
    ),
    "no weights": lambda m: (m / "model.safetensors").unlink(),
    "weights are a folder": lambda m: [
        (m / "model.safetensors").unlink(),
        (m / "model.safetensors").mkdir(),
    ],
    "no config": lambda m: (m / "config.json").unlink(),
    "config is no JSON": lambda m: (m / "config.json").write_text("{'a': 1}"),
    "config is a list": lambda m: (m / "config.json").write_text("[]"),
    "config is empty": lambda m: (m / "config.json").write_text(""),
    "unknown architecture": lambda m: edit_config(
        m, architectures=["MambaForCausalLM"], model_type="mamba"
    ),
    "no layers in the config": lambda m: edit_config(m, num_hidden_layers=...),
    "more layers than tensors": lambda m: edit_config(m, num_hidden_layers=4),
    "a billion layers": lambda m: edit_config(m, num_hidden_layers=10**9),
    "fewer layers than tensors": lambda m: edit_config(m, num_hidden_layers=2),
    "layers as text": lambda m: edit_config(m, num_hidden_layers="3"),
    "negative width": lambda m: edit_config(m, hidden_size=-32),
    "no width": lambda m: edit_config(m, hidden_size=0),
    "another width": lambda m: edit_config(m, hidden_size=64),
    "no heads": lambda m: edit_config(m, num_attention_heads=0),
    "heads that do not divide": lambda m: edit_config(m, num_key_value_heads=3),
    "another number of heads": lambda m: edit_config(m, num_attention_heads=8),
    "another vocabulary": lambda m: edit_config(m, vocab_size=102),
    "another MLP": lambda m: edit_config(m, intermediate_size=45),
    "unknown activation": lambda m: edit_config(m, hidden_act="swoosh"),
    "unknown rotary scaling": lambda m: edit_config(m, rope_scaling={"rope_type": "spiral"}),
    "index that names a missing file": lambda m: index(m, "gone.safetensors"),
    "index that leaves the folder": lambda m: index(m, "../../model.safetensors"),
}
GGUF = {
    "GGUF of four bytes": b"GGUF",
    "GGUF of another version": b"GGUF" + struct.pack("<IQQ", 99, 0, 0),
    "GGUF of 2^60 tensors": b"GGUF" + struct.pack("<IQQ", 3, 2**60, 0),
    "GGUF of 2^60 keys": b"GGUF" + struct.pack("<IQQ", 3, 0, 2**60),
    "GGUF with a key of 2^62 bytes": b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**62),
    "GGUF without anything": b"GGUF" + struct.pack("<IQQ", 3, 0, 0),
    "empty GGUF": b"",
    "GGUF that is text": b"hello\n" * 10,
}


def index(folder, file: str):
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    header_file = (folder / "model-00001-of-00001.safetensors").read_bytes()
    size = struct.unpack("<Q", header_file[:8])[0]
    names = [name for name in json.loads(header_file[8 : 8 + size]) if name != "__metadata__"]
    text = json.dumps({"metadata": {}, "weight_map": dict.fromkeys(names, file)})
    (folder / "model.safetensors.index.json").write_text(text)


@pytest.mark.parametrize("case", BAD_MODELS)
def test_model_folder(folder, case):
    model = copy_of_model(folder)
    BAD_MODELS[case](model)
    config = config_of(folder, [{"id": "m", "path": "model"}])
    check_refused(folder, ("run", config, "--out", folder / "out" / "r.h5"), INPUT, ["model"])


@pytest.mark.parametrize(
    "case", ["weights cut in the middle", "unknown architecture", "another width", "no config"]
)
def test_model_folder_under_mpirun(folder, case):
    model = copy_of_model(folder)
    BAD_MODELS[case](model)
    config = config_of(folder, [{"id": "m", "path": "model"}])
    arguments = ("run", config, "--out", folder / "out" / "r.h5")
    check_refused(folder, arguments, INPUT, ["model"], ranks=2)


@pytest.mark.parametrize("case", GGUF)
def test_gguf_file(folder, case):
    (folder / "in" / "m.gguf").write_bytes(GGUF[case])
    config = config_of(folder, [{"id": "m", "path": "m.gguf"}])
    arguments = ("run", config, "--out", folder / "out" / "r.h5")
    check_refused(folder, arguments, INPUT, ["m.gguf"])


@pytest.mark.parametrize("command", ["run", "plan", "prompts"])
def test_missing_model(folder, command):
    config = config_of(folder, [{"id": "m", "path": "../nowhere"}])
    arguments = [command, config]
    if command == "run":
        arguments += ["--out", folder / "out" / "r.h5"]
    check_refused(folder, arguments, INPUT, ["nowhere", "'m'"])
