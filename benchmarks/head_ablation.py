"""One head's z zeroed at a time: `mechsweep run` beside the loop that people write.

    .deps/references/bin/python benchmarks/head_ablation.py

Both sides measure the same thing in one run on one machine: SmolLM2-135M in fp32, the same
prompts, z of one head zeroed at all positions, everything after it recomputed, the loss of each
target; the base run included. Sides take turns, so that a machine that slows down slows both.

  mechsweep     2 ranks of one thread; a fresh process each round, loading told apart
  transformers  one process of 2 threads, eager attention, all prompts in one batch, a pre-hook on
                o_proj, and only the rows that are read go through the unembedding

The two must agree on every head, prompt and target, else there is no result.
"""

import argparse
import csv
import io
import json
import math
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from common import (
    SMOLLM2,
    BenchmarkError,
    add_common_options,
    busy,
    cells,
    check_files,
    layer_range,
    loading_seconds,
    machine,
    machine_lines,
    plan_value,
    positive,
    publish,
    run,
    spread,
)
from transformers_loop import TransformersLoop, delta_loss_in_double

TOLERANCE_NATS = 1e-4


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_common_options(parser)
    parser.add_argument("--model", type=Path, default=SMOLLM2, help="a .gguf file of a Llama")
    parser.add_argument(
        "--prompts", choices=["ab_noise_a", "repeated_random"], default="ab_noise_a"
    )
    parser.add_argument("--count", type=positive, default=16, help="prompts")
    parser.add_argument("--noise", type=positive, default=32, help="noise tokens of ab_noise_a")
    parser.add_argument("--period", type=positive, default=24, help="of repeated_random")
    parser.add_argument("--layers", type=layer_range, default="0..3", metavar="A..B")
    parser.add_argument("--threads", type=positive, default=2, help="of both sides")
    parser.add_argument("--memory-gib", type=float, default=1.0, help="mechsweep's activations")
    parser.add_argument("--executor", help="mechsweep's; default: its own default")
    return parser.parse_args()


def layers_text(layers):
    return f"{layers[0]}..{layers[-1]}"


def config(arguments):
    if arguments.prompts == "ab_noise_a":
        shape = {"noise": arguments.noise, "noise_pool": "letters", "letter_form": " A"}
    else:
        shape = {"period": arguments.period, "repeats": 2}
    execution = {"memory_gib": arguments.memory_gib, "threads_per_rank": 1}
    if arguments.executor:
        execution["executor"] = arguments.executor
    model = {"id": "model", "path": str(arguments.model.resolve()), "dtype": "float32"}
    prompts = {"id": "set", "kind": arguments.prompts, "count": arguments.count, "prefix": 0}
    experiment = {
        "id": "heads",
        "kind": "head_ablation",
        "operation": "zero",
        "positions": "all",
        "layers": layers_text(arguments.layers),
    }
    return {
        "name": "head-ablation-benchmark",
        "seed": 42,
        "models": [model],
        "prompts": [{**prompts, **shape}],
        "experiments": [experiment],
        "execution": execution,
    }


# ---------------------------------------------------------------------------------- mechsweep


class Mechsweep:
    """Runs the program; delta_loss by (layer, head, prompt, target)."""

    def __init__(self, program, ranks, folder, written):
        self.program, self.ranks, self.folder = program, ranks, folder
        # JSON is YAML.
        self.config = folder / "benchmark.yaml"
        self.config.write_text(json.dumps(written, indent=2), encoding="utf-8")
        self.plan = run([program, "plan", "--ranks", ranks, self.config]).stdout
        self.version = run([program, "--version"]).stdout.strip()
        self.mpi = run(["mpirun", "--version"]).stdout.splitlines()[0]
        self.round = 0

    def prompts(self):
        lines = run([self.program, "prompts", self.config]).stdout.splitlines()
        return [json.loads(line) for line in lines]

    def flops(self):
        return float(plan_value(self.plan, r"^heads/\S+ +\d+ +\d+ +([0-9.]+)$")) * 1e12

    def measure(self):
        """Times of one run of the sweep, and what it found."""
        self.round += 1
        file = self.folder / f"round{self.round}.h5"
        sweep = [self.program, "--log-level", "debug", "run", self.config, "--out", file]
        finished = run(["mpirun", "-n", self.ranks, "--oversubscribe", *sweep])
        loads = loading_seconds(finished)
        if len(loads) != self.ranks:
            raise BenchmarkError(
                f"{len(loads)} of {self.ranks} ranks loaded the model, so the others had nothing "
                "to do; take more prompts or layers"
            )
        status = json.loads(run([self.program, "status", "--json", file]).stdout)
        # A rank loads its model within its first unit.
        computed = (status["compute_seconds"] - sum(loads)) / self.ranks
        times = {
            "wall_s": finished.wall_s,
            "load_s": loads,
            "wall_without_load_s": finished.wall_s - max(loads),
            "compute_s": computed,
        }
        return times, self._deltas(file)

    def _deltas(self, file):
        table = csv.DictReader(io.StringIO(run([self.program, "export", file]).stdout))
        deltas = {}
        for row in table:
            if row["metric"] == "delta_loss":
                place = (row["layer"], row["head"], row["prompt"], row.get("target") or 0)
                deltas[tuple(int(part) for part in place)] = float(row["value"])
        return deltas


# --------------------------------------------------------------------------------- comparison


def largest_difference(ours, theirs):
    """The largest |difference| of delta_loss, nats, and its (layer, head, prompt, target)."""
    if ours.keys() != theirs.keys():
        odd = sorted(ours.keys() ^ theirs.keys())[0]
        raise BenchmarkError(
            f"mechsweep has {len(ours)} effects and transformers {len(theirs)}; the first (layer, "
            f"head, prompt, target) that only one of them has is {odd}"
        )
    # NaN is the largest of all, so that it cannot hide.
    differences = {key: abs(ours[key] - theirs[key]) for key in ours}
    where = max(differences, key=lambda key: (math.isnan(differences[key]), differences[key]))
    return differences[where], where


def require_agreement(difference, where, ours, theirs, model, prompts):
    if difference < TOLERANCE_NATS:
        return
    layer, head, prompt, target = where
    double = delta_loss_in_double(model, prompts[prompt], layer, head, target)
    off = "mechsweep" if not abs(ours - double) < abs(theirs - double) else "transformers"
    raise BenchmarkError(
        f"no result, the two sides disagree: zeroing L{layer}H{head} changes the loss of prompt "
        f"{prompt}, target {target} by {ours:.9g} nats in mechsweep and by {theirs:.9g} in "
        f"transformers, where {TOLERANCE_NATS:g} of difference is allowed; double precision gives "
        f"{double:.9g}, so {off} is the one that is off; if it is off by little, this is rounding "
        "in float32 that a large effect amplifies: take other prompts; if by much, it computes "
        "something else, and a comparison of speed would mean nothing"
    )


def measure_rounds(mechsweep, peer, prompts, arguments):
    layers, rounds = arguments.layers, arguments.rounds
    peer.warm_up()
    measured = []
    for index in range(rounds):
        first = ("mechsweep", "transformers")[index % 2]
        if first == "mechsweep":
            ours, our_deltas = mechsweep.measure()
            seconds, their_deltas = peer.measure(layers)
        else:
            seconds, their_deltas = peer.measure(layers)
            ours, our_deltas = mechsweep.measure()
        difference, where = largest_difference(our_deltas, their_deltas)
        require_agreement(
            difference, where, our_deltas[where], their_deltas[where], arguments.model, prompts
        )
        measured.append(
            {
                "first": first,
                "mechsweep": ours,
                "transformers": {"compute_s": seconds},
                "largest_difference_nats": difference,
                "largest_difference_at": dict(
                    zip(("layer", "head", "prompt", "target"), where, strict=True)
                ),
                "largest_effect_nats": max(map(abs, their_deltas.values())),
            }
        )
        print(
            f"round {index + 1} of {rounds}: mechsweep {ours['compute_s']:.2f} s "
            f"({ours['wall_s']:.2f} s with start and loading), transformers {seconds:.2f} s",
            file=sys.stderr,
        )
    return measured


def summary(measured, heads, flops):
    """What the report's tables say. A ratio is of two times of the same round."""
    theirs = [one["transformers"]["compute_s"] for one in measured]
    timed = {
        "mechsweep, computing": [one["mechsweep"]["compute_s"] for one in measured],
        "mechsweep, all but loading": [one["mechsweep"]["wall_without_load_s"] for one in measured],
        "mechsweep, all of it": [one["mechsweep"]["wall_s"] for one in measured],
        "transformers, computing": theirs,
    }
    return {
        name: {
            "seconds_per_head": spread([value / heads for value in seconds]),
            "gflops_per_second": spread([flops / value / 1e9 for value in seconds]),
            "transformers_over_this": spread([a / b for a, b in zip(theirs, seconds, strict=True)]),
        }
        for name, seconds in timed.items()
    }


def report(record):
    setting, versions = record["setting"], record["versions"]
    worst = max(record["rounds"], key=lambda one: one["largest_difference_nats"])
    loads = [seconds for one in record["rounds"] for seconds in one["mechsweep"]["load_s"]]

    def rows(key, only):
        table = record["summary"].items()
        return [f"| {name} | {cells(row[key])} |" for name, row in table if only in name]

    lines = [
        "# Zeroing one head at a time: mechsweep beside a transformers loop",
        "",
        "Made by `benchmarks/head_ablation.py`; benchmarks/README.md says how to read it. Only the",
        "ratios carry over to other machines, and those roughly.",
        "",
        *machine_lines(record["machine"]),
        f"- Versions: mechsweep {versions['mechsweep']} ({versions['mpi']}), transformers "
        f"{versions['transformers']}, torch {versions['torch']}, Python {versions['python']}",
        f"- Model: {setting['model']}, float32",
        f"- Sweep: {setting['heads']} heads (layers {setting['layers']}), each zeroed at all "
        f"positions, and the base run; {setting['prompts']} prompts ({setting['kind']}) of "
        f"{setting['tokens']} tokens, {setting['targets']} targets in all",
        f"- Threads: mechsweep {setting['threads']} ranks of one thread ({setting['how']}), "
        f"transformers {setting['threads']} threads; {len(record['rounds'])} rounds, taking turns",
        "",
        "| seconds per head | min | median | max |",
        "| --- | --- | --- | --- |",
    ]
    lines += rows("seconds_per_head", "")
    lines += ["", "| transformers / mechsweep | min | median | max |", "| --- | --- | --- | --- |"]
    lines += rows("transformers_over_this", "mechsweep")
    lines += ["", "| GFLOP/s | min | median | max |", "| --- | --- | --- | --- |"]
    lines += rows("gflops_per_second", "computing")
    at = worst["largest_difference_at"]
    lines += [
        "",
        f"- GFLOP/s count {setting['tflop']:g} TFLOP, whole forward passes as `mechsweep plan` "
        "counts them, for both sides",
        f"- Loading a model in mechsweep: {min(loads):.2f} to {max(loads):.2f} s a rank; "
        "transformers loaded before the clock started",
        f"- Agreement: delta_loss differs by at most {worst['largest_difference_nats']:.2g} nats "
        f"(L{at['layer']}H{at['head']}, prompt {at['prompt']}, target {at['target']}; "
        f"{TOLERANCE_NATS:g} is allowed), while effects reach "
        f"{worst['largest_effect_nats']:.3g} nats",
    ]
    return lines


def record_of(arguments, described, mechsweep, peer, prompts, written, measured):
    heads, flops = len(arguments.layers) * peer.head_count, mechsweep.flops()
    model = {**written["models"][0], "path": arguments.model.name}
    return {
        "made_by": "benchmarks/head_ablation.py",
        "machine": described,
        "versions": {
            "mechsweep": mechsweep.version,
            "mpi": mechsweep.mpi,
            "transformers": transformers.__version__,
            "torch": torch.__version__,
            "python": ".".join(map(str, sys.version_info[:3])),
        },
        "setting": {
            "model": arguments.model.name,
            "layers": layers_text(arguments.layers),
            "heads": heads,
            "kind": arguments.prompts,
            "prompts": len(prompts),
            "tokens": len(prompts[0]["tokens"]),
            "targets": len(peer.reads),
            "threads": arguments.threads,
            "how": plan_value(mechsweep.plan, r"(executor \w+, kernels \w+)"),
            "tflop": flops / 1e12,
            "tolerance_nats": TOLERANCE_NATS,
            "config": {**written, "models": [model]},
        },
        "rounds": measured,
        "summary": summary(measured, heads, flops),
    }


def main():
    arguments = parse_arguments()
    described = machine()
    check_files(arguments.program, arguments.model)
    if busy(described):
        print("warning: this machine is busy; the times will mean nothing", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="mechsweep-benchmark-") as folder:
        written = config(arguments)
        mechsweep = Mechsweep(arguments.program, arguments.threads, Path(folder), written)
        prompts = mechsweep.prompts()
        peer = TransformersLoop(arguments.model.resolve(), prompts, arguments.threads)
        measured = measure_rounds(mechsweep, peer, prompts, arguments)
    record = record_of(arguments, described, mechsweep, peer, prompts, written, measured)
    publish(arguments.out, "head_ablation", report(record), record)


if __name__ == "__main__":
    try:
        main()
    except BenchmarkError as error:
        sys.exit(f"head_ablation: {error}")
