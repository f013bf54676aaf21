"""What it takes to load a model: seconds, and the peak of memory.

    python3 benchmarks/loading.py

Runs a sweep that hardly computes anything (the attention scores of one prompt of 8 tokens) as one
process of one thread and of two. Where the references' environment is (scripts/install_deps.sh
--references), transformers loads the same files in turn with it. Needs nothing else but Python.
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
    positive,
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
    parser.add_argument("--threads", type=positive, nargs="+", default=[1, 2], metavar="N")
    parser.add_argument(
        "--references",
        type=Path,
        default=ROOT / ".deps/references/bin/python",
        metavar="PYTHON",
        help="an interpreter that has transformers; without it mechsweep is measured alone",
    )
    return parser.parse_args()


def config(model, threads):
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
        "execution": {"memory_gib": 0.25, "threads_per_rank": threads},
    }


def size_bytes(model):
    """Bytes of the checkpoint's tensor files."""
    if model.is_file():
        return model.stat().st_size
    return sum(file.stat().st_size for file in model.glob("*.safetensors"))


class Sweep:
    """`mechsweep run` on one model with so many threads."""

    def __init__(self, program, model, threads, folder):
        self.program, self.model, self.folder = program, model, folder
        self.name = f"mechsweep, {threads} thread{'s' if threads > 1 else ''}"
        self.file = folder / f"{model.stem}-{threads}.yaml"
        text = json.dumps(config(model, threads), indent=2)
        self.file.write_text(text, encoding="utf-8")  # JSON is YAML

    def plan(self):
        return plan_value(run([self.program, "plan", self.file]).stdout, r"^memory +(.+)$")

    def load(self, index):
        out = self.folder / f"{self.file.stem}-{index}.h5"
        finished = run([self.program, "--log-level", "debug", "run", self.file, "--out", out])
        loads = loading_seconds(finished)
        if len(loads) != 1:
            raise BenchmarkError(f"{self.model}: expected one note about loading, got {len(loads)}")
        return loads[0], finished


class Transformers:
    """`from_pretrained` on the same file, float32."""

    def __init__(self, python, model, threads):
        self.name = f"transformers, {threads} thread{'s' if threads > 1 else ''}"
        script = ROOT / "benchmarks/transformers_loading.py"
        self.command = [python, script, model.resolve(), threads]

    def load(self, _):
        finished = run(self.command)
        said = json.loads(finished.stdout.splitlines()[-1])
        self.versions = said["versions"]
        return said["load_s"], finished


def measure(arguments, model, folder):
    """Each round is a fresh process of each side. One of mechsweep before the first, which does not
    count, brings the checkpoint into the page cache: this measures programs, not the disk."""
    sides = [Sweep(arguments.program, model, threads, folder) for threads in arguments.threads]
    plan = sides[0].plan()
    sides[0].load("first")
    if arguments.references.is_file():
        sides.append(Transformers(arguments.references, model, max(arguments.threads)))
    measured = {side.name: [] for side in sides}
    for index in range(arguments.rounds):
        for side in sides:
            load_s, finished = side.load(index)
            measured[side.name].append(
                {
                    "load_s": load_s,
                    "wall_s": finished.wall_s,
                    "peak_mib": finished.peak_bytes / MIB,
                }
            )
    return {
        "model": model.name,
        "checkpoint_mib": size_bytes(model) / MIB,
        "plan_memory": plan,
        "versions": getattr(sides[-1], "versions", {}),
        "rounds": measured,
        "summary": {
            name: {key: spread([one[key] for one in rounds]) for key in rounds[0]}
            for name, rounds in measured.items()
        },
    }


def report(record):
    lines = [
        "# Loading a model",
        "",
        "Made by `benchmarks/loading.py`; benchmarks/README.md says how to read it.",
        "",
        *machine_lines(record["machine"]),
        f"- mechsweep {record['mechsweep']}, float32; checkpoints are in the page cache",
    ]
    versions = record["models"][0]["versions"]
    if versions:
        listed = ", ".join(f"{name} {number}" for name, number in versions.items())
        lines.append(f"- Beside it: {listed}, in processes of their own, taking turns")
    names = {
        "load_s": "loading, s",
        "wall_s": "the whole process, s",
        "peak_mib": "peak memory of the whole process, MiB",
    }
    for model in record["models"]:
        lines += [
            "",
            f"## {model['model']}",
            "",
            f"The checkpoint has {model['checkpoint_mib']:.1f} MiB. What `mechsweep plan` says of "
            f"memory: {model['plan_memory']}.",
            "",
            "| | | min | median | max |",
            "| --- | --- | --- | --- | --- |",
        ]
        for key, name in names.items():
            digits = 4 if key == "peak_mib" else 3
            for side, summary in model["summary"].items():
                lines.append(f"| {name} | {side} | {cells(summary[key], digits)} |")
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
            "models": [measure(arguments, model, Path(folder)) for model in models],
        }
    publish(arguments.out, "loading", report(record), record)


if __name__ == "__main__":
    try:
        main()
    except BenchmarkError as error:
        sys.exit(f"loading: {error}")
