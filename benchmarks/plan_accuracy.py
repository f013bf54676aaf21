"""What `mechsweep plan --calibrate` predicts of memory and time, beside what `mechsweep run` takes.

    python3 benchmarks/plan_accuracy.py

Six sweeps of SmolLM2-135M, each on one rank with one thread and with two; every run directly after
its plan, so that both see the same machine. Also measures two constants of the prediction
(src/app/plan_command.cpp). Needs nothing but Python.
"""

import argparse
import json
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from common import (
    SMOLLM2,
    BenchmarkError,
    add_common_options,
    busy,
    check_files,
    commit,
    copy_prompts,
    loading_seconds,
    machine,
    machine_lines,
    plan_value,
    positive,
    publish,
    repeated_prompts,
    run,
    write_sweep,
)

ALLOWED = 0.25
LONG_PERIOD = 512  # half of a long prompt's tokens
LONG_LAYERS = "28..29"
LITTLE_GIB = 0.05
MIB = 2.0**20
UNITS = {"B": 1.0, "KiB": 2.0**10, "MiB": MIB, "GiB": 2.0**30, "TiB": 2.0**40}
SECONDS = {"h": 3600, "min": 60, "s": 1}


@dataclass
class Sweep:
    """One thing that is planned and run."""

    name: str
    prompts: dict
    experiment: dict
    memory_gib: float = 1.0


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_common_options(parser)
    parser.set_defaults(rounds=1)
    parser.add_argument("--model", type=Path, default=SMOLLM2)
    parser.add_argument("--threads", type=positive, nargs="+", default=[1, 2], metavar="N")
    return parser.parse_args()


def sweeps(arguments, threads, folder):
    """Each about 1 TFLOP a thread: plans tell the time in whole seconds, so they must be many. In
    the two with long prompts what is in flight is a fair part of the memory."""
    heads = {"kind": "head_ablation", "operation": "zero"}
    at_all, some = {**heads, "positions": "all"}, {"layers": LONG_LAYERS}
    patches = {
        "kind": "activation_patching",
        "site": "resid_pre",
        "direction": "clean_to_corrupt",
        "positions": "each",
        "layers": "8..29",
    }
    scores = ["previous_token", "duplicate_token", "induction"]
    pairs = pair_prompts(arguments, threads, folder)
    long = repeated_prompts(threads, LONG_PERIOD)
    return [
        Sweep("heads at the target", copy_prompts(16 * threads), {**heads, "positions": "targets"}),
        Sweep("heads at all positions", copy_prompts(threads), at_all),
        Sweep("heads, long prompts", long, {**at_all, **some}),
        Sweep("heads, long prompts, little memory", long, {**at_all, **some}, LITTLE_GIB),
        Sweep("patches", pairs, patches),
        Sweep(
            "scores",
            repeated_prompts(80 * threads),
            {"kind": "attention_scores", "scores": scores},
        ),
    ]


def pair_prompts(arguments, count, folder):
    """Prompts with a corrupt partner, the first pair swapped: B A for A B."""
    config, file = folder / "made.yaml", folder / "pairs.jsonl"
    scores = {"kind": "attention_scores", "scores": ["previous_token"]}
    write_sweep(config, arguments.model, copy_prompts(count), scores, {})
    lines = []
    for line in run([arguments.program, "prompts", config]).stdout.splitlines():
        prompt = json.loads(line)
        first, a, b, *others = prompt["tokens"]
        answer = prompt["targets"][-1]["answer"]
        pair = {"tokens": prompt["tokens"], "corrupt_tokens": [first, b, a, *others]}
        lines.append(json.dumps({**pair, "answer": answer}) + "\n")
    file.write_text("".join(lines), encoding="utf-8")
    return {"id": "pairs", "kind": "file", "path": str(file)}


def size_bytes(plan, what):
    """The size that follows `what` in the plan's line about memory."""
    size, unit = plan_value(plan, rf"^memory .*\b{what}([0-9.]+ [A-Za-z]+)").split()
    return float(size) * UNITS[unit]


def predicted(plan):
    """Bytes and seconds. The parts of the memory are told more finely than their sum."""
    time = plan_value(plan, r"^time +about (.+) on ")
    parts = ("weights ", "activations (?:at most )?", "program ")
    weights, activations, program = (size_bytes(plan, part) for part in parts)
    return {
        "weights_bytes": weights,
        "activation_bytes": activations,
        "program_bytes": program,
        "peak_bytes": weights + activations + program,
        "time_s": sum(int(n) * SECONDS[u] for n, u in re.findall(r"(\d+) (h|min|s)\b", time)),
    }


def measure(arguments, sweep, threads, folder):
    config, out = folder / "accuracy.yaml", folder / "accuracy.h5"
    out.unlink(missing_ok=True)
    execution = {"memory_gib": sweep.memory_gib, "threads_per_rank": threads}
    write_sweep(config, arguments.model, sweep.prompts, sweep.experiment, execution)
    plan = run([arguments.program, "plan", "--calibrate", config]).stdout
    told = predicted(plan)
    finished = run([arguments.program, "--log-level", "debug", "run", config, "--out", out])
    loads = loading_seconds(finished)
    if len(loads) != 1 or told["time_s"] == 0:
        raise BenchmarkError(
            f"'{sweep.name}': expected one note about loading and a time to predict, got "
            f"{len(loads)} and {told['time_s']} s"
        )
    return {
        "sweep": sweep.name,
        "threads": threads,
        "memory_gib": sweep.memory_gib,
        "plan": re.findall(r"^(?:units|work|memory|speed|time) .*$", plan, re.MULTILINE),
        "predicted": told,
        "peak_bytes": finished.peak_bytes,
        "wall_s": finished.wall_s,
        "load_s": loads[0],
        "memory_ratio": finished.peak_bytes / told["peak_bytes"],
        "time_ratio": finished.wall_s / told["time_s"],
        "program_bytes": finished.peak_bytes - told["weights_bytes"] - told["activation_bytes"],
        "load_bytes_per_second": told["weights_bytes"] / loads[0],
    }


def outside(one):
    """Which of its two ratios are further off than allowed."""
    ratios = {"memory": one["memory_ratio"], "time": one["time_ratio"]}
    return [name for name, ratio in ratios.items() if abs(ratio - 1) > ALLOWED]


def verdict_lines(measured):
    off = [(one, name) for one in measured for name in outside(one)]
    if not off:
        return [f"All ratios are within {ALLOWED:.0%}."]
    lines = [
        f"**{len(off)} of {2 * len(measured)} ratios are further off than {ALLOWED:.0%}:**",
        "",
    ]
    for one, name in off:
        lines.append(
            f"- {name} of {one['sweep']}, {one['threads']} thread{'s'[: one['threads'] - 1]}: "
            f"{one[f'{name}_ratio']:.2f}"
        )
    return lines


def constant_lines(measured):
    """The constants of the prediction, as these runs have them."""
    lines = [
        "",
        "| constant of src/app/plan_command.cpp | min | median | max |",
        "| --- | --- | --- | --- |",
    ]
    names = {
        "kProgramBytes, MB (10^6): the peak less weights and activations as predicted": (
            "program_bytes"
        ),
        "kLoadBytesPerSecond, MB/s: weights held over the seconds of loading": (
            "load_bytes_per_second"
        ),
    }
    for name, key in names.items():
        values = [one[key] / 1e6 for one in measured]
        lines.append(f"| {name} | {min(values):.0f} | {median(values):.0f} | {max(values):.0f} |")
    return lines


def report(record):
    measured = record["runs"]
    lines = [
        "# What the plan says, and what the run takes",
        "",
        "Made by `benchmarks/plan_accuracy.py`; benchmarks/README.md says how to read it.",
        "",
        *machine_lines(record["machine"]),
        f"- mechsweep {record['mechsweep']} (commit {record['commit']}), {record['model']}, "
        "float32, one rank",
        "",
        "| sweep | threads | memory, plan, MiB | memory, run, MiB | run / plan | time, plan, s | "
        "time, run, s | run / plan |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for one in measured:
        told = one["predicted"]
        lines.append(
            f"| {one['sweep']} | {one['threads']} | {told['peak_bytes'] / MIB:.0f} | "
            f"{one['peak_bytes'] / MIB:.0f} | {one['memory_ratio']:.2f} | {told['time_s']} | "
            f"{one['wall_s']:.1f} | {one['time_ratio']:.2f} |"
        )
    return [*lines, "", *verdict_lines(measured), *constant_lines(measured)]


def main():
    arguments = parse_arguments()
    described = machine()
    check_files(arguments.program, arguments.model)
    if busy(described):
        print("warning: this machine is busy; the times will mean nothing", file=sys.stderr)
    measured = []
    with tempfile.TemporaryDirectory(prefix="mechsweep-benchmark-") as name:
        folder = Path(name)
        # Not counted: brings program and checkpoint into the page cache.
        first = sweeps(arguments, 1, folder)[0]
        measure(arguments, Sweep("", copy_prompts(4), first.experiment), 1, folder)
        for _ in range(arguments.rounds):
            for threads in arguments.threads:
                for sweep in sweeps(arguments, threads, folder):
                    measured.append(measure(arguments, sweep, threads, folder))
                    one = measured[-1]
                    print(
                        f"{sweep.name}, threads {threads}: memory {one['memory_ratio']:.2f}, time "
                        f"{one['time_ratio']:.2f} ({one['wall_s']:.1f} s)",
                        file=sys.stderr,
                    )
    record = {
        "made_by": "benchmarks/plan_accuracy.py",
        "machine": described,
        "mechsweep": run([arguments.program, "--version"]).stdout.strip(),
        "commit": commit(),
        "model": arguments.model.name,
        "runs": measured,
    }
    publish(arguments.out, "plan_accuracy", report(record), record)


if __name__ == "__main__":
    try:
        main()
    except BenchmarkError as error:
        sys.exit(f"plan_accuracy: {error}")
