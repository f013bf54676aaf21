"""How the goldens are written: what made them, digits, compact JSON."""

import json
import math
import platform
from importlib.metadata import version
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
DIGITS = {"float32": 9, "float64": 11}


def made_by(*packages):
    names = ("torch", "transformers", "tokenizers", "safetensors", "gguf", "numpy")
    wanted = packages or names
    return {
        "script": "tests/golden/make_goldens.py",
        "python": platform.python_version(),
        **{name: version(name) for name in wanted},
    }


def rounded(value, digits):
    """Numbers to so many significant digits, NaN as null, all the way down."""
    if isinstance(value, dict):
        return {key: rounded(one, digits) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(one, digits) for one in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return rounded(value.tolist(), digits)
    if isinstance(value, float):
        return None if math.isnan(value) else float(f"{value:.{digits}g}")
    return value


def _dump(value, depth, indent):
    if depth == 0 or not isinstance(value, (dict, list)) or not value:
        return json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    inner = indent + " "
    if isinstance(value, dict):
        lines = [f"{json.dumps(k)}: {_dump(v, depth - 1, inner)}" for k, v in value.items()]
        return "{\n" + ",\n".join(inner + line for line in lines) + "\n" + indent + "}"
    lines = [inner + _dump(one, depth - 1, inner) for one in value]
    return "[\n" + ",\n".join(lines) + "\n" + indent + "]"


def write_json(name, content, depth=2):
    """JSON that is compact and still has lines: only the outer levels are broken up."""
    path = HERE / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_dump(content, depth, "") + "\n", encoding="utf-8")
    print(f"{name}: {path.stat().st_size} bytes", flush=True)


def write_lines(name, entries):
    path = HERE / "prompts" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(entry, separators=(", ", ": ")) for entry in entries]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"prompts/{name}: {path.stat().st_size} bytes", flush=True)
