"""What it takes `mechsweep run` to load a model: seconds, and the peak of its memory.

    python3 benchmarks/loading.py

Runs a sweep that hardly computes anything (the attention scores of one prompt of 8 tokens) as one
process of one thread. Needs nothing but Python.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from common import (
    ROOT,
    SMOLLM2,
    BenchmarkError,
    add_common_options,
    busy,
    cells,
    check_files,
    loading_seconds,
    machine,
    machine_lines,
    plan_value,
    publish,
    run,
    spread,
)

GEMMA3 = ROOT / "models/gemma3-270m/gemma-3-270m-q4_k_m.gguf"
MIB = 2.0**20


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_common_options(parser)
    parser.add_argument(
        "--model",
        type=Path,
        action="append",
        metavar="PATH",
        help="a .gguf file or a folder; may be repeated; default: SmolLM2-135M and, where it is, "
        "Gemma 3 270M",
    )
    return parser.parse_args()


def config(model):
    return {
        "name": "loading-benchmark",
        "seed": 42,
        "models": [{"id": "model", "path": str(model.resolve()), "dtype": "float32"}],
        "prompts": [
            {
                "id": "one",
                "kind": "repeated_random",
                "count": 1,
                "period": 4,
                "repeats": 2,
                "prefix": "none",
            }
        ],
        "experiments": [{"id": "scores", "kind": "attention_scores", "scores": ["previous_token"]}],
        "execution": {"memory_gib": 0.25, "threads_per_rank": 1},
    }


def size_bytes(model):
    """Bytes of the checkpoint's tensor files."""
    if model.is_file():
        return model.stat().st_size
    return sum(file.stat().st_size for file in model.glob("*.safetensors"))


def measure(program, model, rounds, folder):
    """Each round is a fresh process. One before the first, which does not count, brings the
    checkpoint into the page cache: this measures the program, not the disk."""
    file = folder / "loading.yaml"
    file.write_text(json.dumps(config(model), indent=2), encoding="utf-8")  # JSON is YAML
    plan = run([program, "plan", file]).stdout
    measured = []
    for index in range(rounds + 1):
        out = folder / f"{model.stem}-{index}.h5"
        finished = run([program, "--log-level", "debug", "run", file, "--out", out])
        loads = loading_seconds(finished)
        if len(loads) != 1:
            raise BenchmarkError(f"{model}: expected one note about loading, got {len(loads)}")
        if index > 0:
            measured.append(
                {
                    "load_s": loads[0],
                    "wall_s": finished.wall_s,
                    "peak_mib": finished.peak_bytes / MIB,
                }
            )
    return {
        "model": model.name,
        "checkpoint_mib": size_bytes(model) / MIB,
        "plan_memory": plan_value(plan, r"^memory +(.+)$"),
        "rounds": measured,
        "summary": {key: spread([one[key] for one in measured]) for key in measured[0]},
    }


def report(record):
    lines = [
        "# Loading a model",
        "",
        "Made by `benchmarks/loading.py`; benchmarks/README.md says how to read it.",
        "",
        *machine_lines(record["machine"]),
        f"- mechsweep {record['mechsweep']}, one process of one thread, float32; checkpoints are "
        "in the page cache",
    ]
    names = {
        "load_s": "loading, s",
        "wall_s": "the whole run, s",
        "peak_mib": "peak memory of the whole run, MiB",
    }
    for model in record["models"]:
        lines += [
            "",
            f"## {model['model']}",
            "",
            f"The checkpoint has {model['checkpoint_mib']:.1f} MiB. What `mechsweep plan` says of "
            f"memory: {model['plan_memory']}.",
            "",
            "| | min | median | max |",
            "| --- | --- | --- | --- |",
        ]
        for key, name in names.items():
            digits = 4 if key == "peak_mib" else 3
            lines.append(f"| {name} | {cells(model['summary'][key], digits)} |")
    return lines


def main():
    arguments = parse_arguments()
    described = machine()
    models = arguments.model or [SMOLLM2, *([GEMMA3] if GEMMA3.is_file() else [])]
    check_files(arguments.program, *(model for model in models if not model.is_dir()))
    if busy(described):
        print("warning: this machine is busy; the times will mean nothing", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="mechsweep-benchmark-") as folder:
        record = {
            "made_by": "benchmarks/loading.py",
            "machine": described,
            "mechsweep": run([arguments.program, "--version"]).stdout.strip(),
            "models": [
                measure(arguments.program, model, arguments.rounds, Path(folder))
                for model in models
            ],
        }
    publish(arguments.out, "loading", report(record), record)


if __name__ == "__main__":
    try:
        main()
    except BenchmarkError as error:
        sys.exit(f"loading: {error}")
