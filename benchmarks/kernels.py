"""GFLOP/s of the matrix products themselves: native, onednn and aten, in every dtype.

    python3 benchmarks/kernels.py

Builds benchmarks/kernels.cpp (Google Benchmark) in build/ and runs it, each round in a new process
that takes the products several times in an order of chance. Needs `scripts/install_deps.sh
--benchmarks`, and otherwise nothing but Python.
"""

import argparse
import json
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import median

from common import (
    RESULTS,
    ROOT,
    BenchmarkError,
    busy,
    commit,
    machine,
    machine_lines,
    positive,
    publish,
    run,
    spread,
)

PANEL_ROWS = 128
LIBRARIES = ("onednn", "aten")
DTYPES = ("float32", "bfloat16", "float16")


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--build", type=Path, default=ROOT / "build", help="where to build")
    parser.add_argument("--rounds", type=positive, default=3, help="processes")
    parser.add_argument("--repetitions", type=positive, default=3, help="of each, in a round")
    parser.add_argument("--seconds", type=float, default=0.1, help="of each repetition, at least")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the .md and .json")
    return parser.parse_args()


def build(folder):
    """Always: a program of older sources would be measured under a newer commit's name."""
    if not (folder / "CMakeCache.txt").is_file():
        raise BenchmarkError(f"{folder} is no build folder; scripts/build.sh makes build/")
    run(["cmake", "-S", ROOT, "-B", folder, "-D", "MECHSWEEP_BENCHMARKS=ON"])
    run(["cmake", "--build", folder, "--target", "kernels_benchmark"])
    return folder / "kernels_benchmark"


def measure_round(program, repetitions, seconds, folder):
    """What Google Benchmark says of itself, and GFLOP/s by name, one of each repetition."""
    file = folder / "round.json"
    run(
        [
            program,
            "--benchmark_enable_random_interleaving=true",
            f"--benchmark_repetitions={repetitions}",
            f"--benchmark_min_time={seconds}",
            f"--benchmark_out={file}",
            "--benchmark_out_format=json",
        ]
    )
    written = json.loads(file.read_text(encoding="utf-8"))
    rates = defaultdict(list)
    for one in written["benchmarks"]:
        if one.get("error_occurred"):
            raise BenchmarkError(f"{one['name']}: {one['error_message']}")
        if one["run_type"] == "iteration":
            rates[one["name"]].append(one["flops"] / 1e9)
    return written["context"], dict(rates)


def parts(name):
    """Kernels, type, rows, K and N of a benchmark's name."""
    kernels, dtype, *numbers = name.split("/")
    return kernels, dtype, *map(int, numbers)


def summary(rounds):
    """By name: GFLOP/s over all repetitions of all rounds. For panels also native over each
    library, of the medians of the same round."""
    rates = {name: spread(sum((one[name] for one in rounds), [])) for name in rounds[0]}
    ratios = {}
    for name in rates:
        kernels, rest = name.split("/", 1)
        if kernels in LIBRARIES:
            native = f"native/{rest}"
            ratios[name] = spread([median(one[native]) / median(one[name]) for one in rounds])
    return {"gflops_per_second": rates, "native_over_this": ratios}


def cell(values):
    """A library that has no products of a type on this processor leaves a gap."""
    if values is None:
        return "-"
    return f"{values['median']:.0f} ({values['min']:.0f} to {values['max']:.0f})"


def tables(described, dtype):
    rates, ratios = described["gflops_per_second"], described["native_over_this"]
    shapes = sorted({parts(name)[3:] for name in rates})
    few = sorted({parts(name)[2] for name in rates})
    lines = [
        "",
        f"## {dtype}",
        "",
        f"GFLOP/s with {PANEL_ROWS} rows, median (least to most):",
        "",
        "| K | N | native | onednn | aten | native / onednn | native / aten |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for k, n in shapes:
        rest = f"{dtype}/{PANEL_ROWS}/{k}/{n}"
        row = [cell(rates.get(f"{kernels}/{rest}")) for kernels in ("native", *LIBRARIES)]
        found = [ratios.get(f"{kernels}/{rest}") for kernels in LIBRARIES]
        row += [f"{one['median']:.2f}" if one else "-" for one in found]
        lines.append(f"| {k} | {n} | {' | '.join(row)} |")
    heads = [f"{rows} row{'s'[: rows - 1]}" for rows in few]
    lines += [
        "",
        "GFLOP/s of native with fewer rows:",
        "",
        f"| K | N | {' | '.join(heads)} |",
        f"| --- | --- |{' --- |' * len(heads)}",
    ]
    for k, n in shapes:
        row = [cell(rates[f"native/{dtype}/{rows}/{k}/{n}"]) for rows in few]
        lines.append(f"| {k} | {n} | {' | '.join(row)} |")
    return lines


def report(record):
    versions, setting = record["versions"], record["setting"]
    lines = [
        "# Matrix products",
        "",
        "Made by `benchmarks/kernels.py`; benchmarks/README.md says how to read it.",
        "",
        *machine_lines(record["machine"]),
        f"- Versions: mechsweep {versions['mechsweep']} (commit {versions['commit']}), "
        f"{versions['tensor_library']}, Google Benchmark {versions['google_benchmark']}, "
        f"{versions['compiler']}",
        f"- One thread; {setting['rounds']} rounds of {setting['repetitions']} repetitions of at "
        f"least {setting['seconds']:g} s, in an order of chance",
    ]
    for dtype in DTYPES:
        lines += tables(record["summary"], dtype)
    return lines


def main():
    arguments = parse_arguments()
    described = machine()
    if busy(described):
        print("warning: this machine is busy; the times will mean nothing", file=sys.stderr)
    program = build(arguments.build)
    rounds = []
    with tempfile.TemporaryDirectory(prefix="mechsweep-benchmark-") as folder:
        for index in range(arguments.rounds):
            context, rates = measure_round(
                program, arguments.repetitions, arguments.seconds, Path(folder)
            )
            rounds.append(rates)
            print(f"round {index + 1} of {arguments.rounds} is done", file=sys.stderr)
    versions = ("mechsweep", "tensor_library", "google_benchmark", "compiler")
    record = {
        "made_by": "benchmarks/kernels.py",
        "machine": described,
        "versions": {**{name: context[name] for name in versions}, "commit": commit()},
        "setting": {
            name: getattr(arguments, name) for name in ("rounds", "repetitions", "seconds")
        },
        "rounds": rounds,
        "summary": summary(rounds),
    }
    publish(arguments.out, "kernels", report(record), record)


if __name__ == "__main__":
    try:
        main()
    except BenchmarkError as error:
        sys.exit(f"kernels: {error}")
