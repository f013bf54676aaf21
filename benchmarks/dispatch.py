"""Who computes what: the dispatch policy on thousands of simulated groups, and what it costs.

    python3 benchmarks/dispatch.py              # all of it, about 10 minutes
    python3 benchmarks/dispatch.py simulate     # only the simulations: results/dispatch.csv
    python3 benchmarks/dispatch.py measure      # only the times: results/dispatch.json

Builds what it needs in build/ and writes results/dispatch.md from both. Simulations do not depend
on the machine; times do, and want an idle one. The figure is drawn by docs/figures/dispatch.py.
Needs nothing but Python beside the program's own dependencies.
"""

import argparse
import csv
import io
import json
import os
import sys
import tempfile
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
    run,
)

STRATEGIES = ("mechsweep", "queue", "largest", "blocks")
TARGETS = ("dispatch_simulator", "dispatch_claims", "dispatch_messages", "mpi_synthetic_sweep")
SEEDS = (1, 2, 3)
LONG_UNIT_S = 1.05  # longer than DispatchPolicy::kAheadSeconds
# Rank 0's time for a claim and a message's way are taken larger than what is measured below.
BASE = {
    "groups": 1000,
    "units": 300_000,
    "models": 8,
    "costs": "lognormal",
    "shape": 1.0,
    "mean-s": 15,
    "longest-s": 3600,
    "error": 0.3,
    "model-error": 0.5,
    "loading-s": 60,
    "claim-us": 20,
    "latency-us": 1000,
}
PARETO = {"costs": "pareto", "shape": 1.5, "longest-s": 600}
# Name of the scenario: what it changes.
SCENARIOS = {
    "base": {},
    **{
        f"{groups} groups": {"groups": groups, "units": 100 * groups}
        for groups in (100, 300, 1000, 3000, 10_000)
    },
    "1,000 units a group": {"units": 1_000_000},
    "Pareto": PARETO,
    "Pareto, 1,000 units a group": {**PARETO, "units": 1_000_000, "longest-s": 3600},
    "exact predictions": {"error": 0, "model-error": 0},
    "bad predictions": {"error": 1, "model-error": 1},
    "one model": {"models": 1},
    "32 models": {"models": 32},
    "no loading": {"loading-s": 0},
    "loading 300 s": {"loading-s": 300},
    "units of 1 s": {"mean-s": 1, "units": 1_000_000},
    "failures, MTBF 10,000 h": {"units": 1_000_000, "group-mtbf-h": 10_000},
    "failures, MTBF 2,000 h": {"units": 1_000_000, "group-mtbf-h": 2_000},
}


def build(folder):
    """Always: programs of older sources would be measured under a newer commit's name."""
    if not (folder / "CMakeCache.txt").is_file():
        raise BenchmarkError(f"{folder} is no build folder; scripts/build.sh --tests makes build/")
    run(["cmake", "-S", ROOT, "-B", folder, "-D", "MECHSWEEP_BENCHMARKS=ON"])
    run(["cmake", "--build", folder, "--target", *TARGETS])


def simulate(folder, name, seeds):
    rows = []
    for seed in seeds:
        setting = {**BASE, **SCENARIOS[name], "seed": seed}
        command = [folder / "dispatch_simulator", "--header"]
        for key, value in setting.items():
            command += [f"--{key}", value]
        for strategy in STRATEGIES:
            command += ["--strategy", strategy]
        for row in csv.DictReader(io.StringIO(run(command).stdout)):
            rows.append({"scenario": name, **row})
    print(f"simulated: {name}", file=sys.stderr)
    return rows


def simulate_all(folder, out):
    rows = []
    for name in SCENARIOS:
        rows += simulate(folder, name, SEEDS)
    with (out / "dispatch.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def mpirun(ranks, *command):
    """The last line of what rank 0 printed, as JSON."""
    finished = run(["mpirun", "--oversubscribe", "-n", ranks, *command])
    return json.loads(finished.stdout.strip().splitlines()[-1])


def measure(folder, rounds):
    """Times, each the median of all rounds."""

    def rounds_of(step):
        results = [step() for _ in range(rounds)]
        return {key: median(result[key] for result in results) for key in results[0]}

    claims = [
        rounds_of(lambda size=size: json.loads(run([folder / "dispatch_claims", *size]).stdout))
        for size in ((1_000_000, 1000, 8), (1_000_000, 10_000, 8))
    ]
    messages = [
        rounds_of(lambda ranks=ranks: mpirun(ranks, folder / "dispatch_messages", 20_000 // ranks))
        for ranks in (2, 4, 16)
    ]
    loops = []
    with tempfile.TemporaryDirectory(prefix="mechsweep-benchmark-") as scratch:
        path = Path(scratch) / "a.h5"

        def loop(ranks, units, seconds):
            for file in Path(scratch).iterdir():
                file.unlink()
            options = ["--runs", 1, "--units", units, "--even", "--delay-us", 1e6 * seconds]
            options += ["--predicted-s", max(seconds, 0.001)]
            return mpirun(ranks, folder / "mpi_synthetic_sweep", "run", "--out", path, *options)

        for seconds, counts in ((0, (1, 2, 4, 16, 64)), (LONG_UNIT_S, (2, 4, 16))):
            for ranks in counts:
                units = 5 * ranks if seconds else 1000
                result = rounds_of(lambda r=ranks, u=units, s=seconds: loop(r, u, s))
                loops.append({"unit_s": seconds, **result})
    return {"claims": claims, "messages": messages, "loops": loops}


def number(row, key):
    return float(row[key])


def range_text(rows, key, digits):
    values = sorted(number(row, key) for row in rows)
    low, high = f"{values[0]:,.{digits}f}", f"{values[-1]:,.{digits}f}"
    return low if low == high else f"{low} to {high}"


def simulation_tables(rows):
    base = ", ".join(f"{key} {value}" for key, value in BASE.items())
    lines = [
        "## Simulated",
        "",
        f"Base trace: {base}. Every scenario with seeds {', '.join(map(str, SEEDS))}; a cell is "
        "the range over them. What the columns and strategies are: benchmarks/README.md.",
        "",
    ]
    lines += [
        "| scenario | strategy | makespan / bound | busy, loading apart | loads | tail, s | "
        "lost to failures |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, change in SCENARIOS.items():
        shown = name
        for strategy in STRATEGIES:
            chosen = [r for r in rows if r["scenario"] == name and r["strategy"] == strategy]
            cells = [
                range_text(chosen, "makespan_over_bound", 3),
                range_text([{"b": 100 * number(r, "busy_share")} for r in chosen], "b", 1) + "%",
                range_text(chosen, "loads", 0),
                range_text(chosen, "tail_s", 0),
                range_text([{"l": 100 * number(r, "lost_share")} for r in chosen], "l", 1) + "%"
                if "group-mtbf-h" in change
                else "",
            ]
            lines.append(f"| {shown} | {strategy} | {' | '.join(cells)} |")
            shown = ""
    ours = [r for r in rows if r["strategy"] == "mechsweep"]
    most = max(ours, key=lambda r: number(r, "claims_per_s"))
    lines += [
        "",
        f"Most claims a second: {number(most, 'claims_per_s'):,.0f} ({most['scenario']}), which "
        f"keep rank 0 busy for {100 * number(most, 'rank0_share'):.1f}% of the time. From asking "
        f"to getting, over all scenarios: median {range_text(ours, 'latency_p50_us', 0)} us, 99th "
        f"percentile {range_text(ours, 'latency_p99_us', 0)} us, longest (all groups ask at once) "
        f"{range_text(ours, 'latency_max_us', 0)} us.",
        "",
    ]
    return lines


def table(title, rows, columns):
    lines = [title, "", "| " + " | ".join(head for head, _, _ in columns) + " |"]
    lines.append("|" + " --- |" * len(columns))
    for row in rows:
        lines.append("| " + " | ".join(f"{row[key]:{form}}" for _, key, form in columns) + " |")
    return [*lines, ""]


def measured_tables(record):
    times = record["times"]
    lines = ["## Measured", "", *machine_lines(record["machine"])]
    lines += [f"- Commit: {record['commit']}; median of {record['rounds']} rounds", ""]
    lines += table(
        "The policy alone: a unit's finished() and the next unit's next().",
        times["claims"],
        [
            ("units", "units", ",.0f"),
            ("groups", "groups", ",.0f"),
            ("mean, us", "mean_us", ".2f"),
            ("median, us", "p50_us", ".2f"),
            ("99%, us", "p99_us", ".2f"),
            ("longest, us", "max_us", ",.0f"),
            ("setting up, ms", "construct_ms", ",.0f"),
            ("memory, MiB", "policy_mib", ".0f"),
        ],
    )
    lines += table(
        "With messages: rank 0 does nothing but answer, all other ranks nothing but ask.",
        times["messages"],
        [
            ("ranks", "ranks", ".0f"),
            ("claims a second", "claims_per_s", ",.0f"),
            ("rank 0's time for one, us", "rank0_us_per_claim", ".2f"),
            ("there and back: median, us", "trip_p50_us", ",.1f"),
            ("90%, us", "trip_p90_us", ",.1f"),
            ("99%, us", "trip_p99_us", ",.1f"),
            ("longest, us", "trip_max_us", ",.0f"),
        ],
    )
    for seconds, text in (
        (0, "compute nothing, so each rank holds one ahead. The rate includes making the file"),
        (LONG_UNIT_S, f"sleep for {LONG_UNIT_S} s, so that none is held ahead"),
    ):
        lines += table(
            f"The whole loop, with units that {text}.",
            [row for row in times["loops"] if row["unit_s"] == seconds],
            [
                ("ranks", "ranks", ".0f"),
                ("units a second", "units_per_s", ",.0f"),
                ("between two units of a rank: median, us", "gap_p50_us", ",.0f"),
                ("90%, us", "gap_p90_us", ",.0f"),
                ("99%, us", "gap_p99_us", ",.0f"),
                ("longest, us", "gap_max_us", ",.0f"),
            ],
        )
    cores = record["machine"]["cores"]
    lines += [
        f"More than {cores} ranks share {cores} cores here, and each has a thread that computes "
        "and one that talks: from there on the numbers tell how the machine divides its time, not "
        "what a cluster would do.",
        "",
    ]
    return lines


def write_report(out):
    lines = ["# Dispatch", "", "Made by `python3 benchmarks/dispatch.py`.", ""]
    if (out / "dispatch.csv").is_file():
        with (out / "dispatch.csv").open(encoding="utf-8") as file:
            lines += simulation_tables(list(csv.DictReader(file)))
    if (out / "dispatch.json").is_file():
        lines += measured_tables(json.loads((out / "dispatch.json").read_text(encoding="utf-8")))
    text = "\n".join(lines).rstrip() + "\n"
    (out / "dispatch.md").write_text(text, encoding="utf-8")
    print(text, end="")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="?", choices=("simulate", "measure", "report"))
    parser.add_argument("--build", type=Path, default=ROOT / "build", help="where to build")
    parser.add_argument("--no-build", action="store_true", help="what is there is up to date")
    parser.add_argument("--rounds", type=positive, default=3, help="of what is measured")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    arguments = parser.parse_args()
    described = machine()
    if arguments.what in (None, "measure") and busy(described):
        print("warning: this machine is busy; the times will mean nothing", file=sys.stderr)
    if arguments.what != "report" and not arguments.no_build:
        build(arguments.build)
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.what in (None, "simulate"):
        simulate_all(arguments.build, arguments.out)
    if arguments.what in (None, "measure"):
        record = {
            "made_by": "benchmarks/dispatch.py",
            "machine": described,
            "commit": commit(),
            "rounds": arguments.rounds,
            "times": measure(arguments.build, arguments.rounds),
        }
        text = json.dumps(record, indent=2) + "\n"
        (arguments.out / "dispatch.json").write_text(text, encoding="utf-8")
    write_report(arguments.out)


if __name__ == "__main__":
    try:
        os.environ.setdefault("OMPI_MCA_rmaps_base_oversubscribe", "1")
        main()
    except BenchmarkError as error:
        sys.exit(f"dispatch: {error}")
