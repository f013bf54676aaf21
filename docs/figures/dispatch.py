"""Draws docs/figures/dispatch.svg: simulated sweeps under four ways to hand out units.

    .deps/analysis/bin/python docs/figures/dispatch.py [FILE.svg | FILE.png]

Reads benchmarks/results/dispatch.csv, which benchmarks/dispatch.py writes; running it again gives
the same bytes.
"""

import csv
import sys
from pathlib import Path
from statistics import median

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

ROOT = Path(__file__).resolve().parents[2]
SIZES = ["100 groups", "300 groups", "1000 groups", "3000 groups", "10000 groups"]
SCENARIOS = [
    ("base", "base"),
    ("1,000 units a group", "longer\nsweep"),
    ("Pareto", "Pareto\ncosts"),
    ("bad predictions", "bad pre-\ndictions"),
    ("one model", "one\nmodel"),
    ("32 models", "32\nmodels"),
    ("loading 300 s", "loading\n300 s"),
    ("failures, MTBF 2,000 h", "failures"),
]
STRATEGIES = {
    "mechsweep": ("mechsweep", "#d9772b", "o"),
    "queue": ("central queue, plan order", "#4a6fa5", "s"),
    "largest": ("central queue, largest first", "#7a9a6d", "^"),
    "blocks": ("static blocks", "#9aa3af", "D"),
}
INK = "#1d2733"


def middle(rows, scenario, strategy, key):
    found = [
        float(row[key])
        for row in rows
        if row["scenario"] == scenario and row["strategy"] == strategy
    ]
    return median(found)


def growth(axes, rows, key, scale, label):
    for strategy, (name, colour, marker) in STRATEGIES.items():
        groups = [int(size.split()[0]) for size in SIZES]
        values = [scale * middle(rows, size, strategy, key) for size in SIZES]
        axes.plot(groups, values, color=colour, marker=marker, markersize=4, label=name)
    axes.set_xscale("log")
    axes.set_xlabel("groups (100 units each)")
    axes.set_ylabel(label)
    axes.grid(axis="y", color="#e3e6ea", linewidth=0.6)


def scenarios(axes, rows):
    width = 0.2
    for index, (strategy, (_, colour, _)) in enumerate(STRATEGIES.items()):
        values = [middle(rows, key, strategy, "makespan_over_bound") for key, _ in SCENARIOS]
        places = [place + (index - 1.5) * width for place in range(len(SCENARIOS))]
        axes.bar(places, [value - 1 for value in values], width, bottom=1, color=colour)
        for place, value in zip(places, values, strict=True):
            text = f"{value:.2f}" if value < 10 else f"{value:.0f}"
            axes.annotate(
                text,
                (place, value),
                xytext=(0, 2),
                textcoords="offset points",
                ha="center",
                fontsize=5.5,
                color=INK,
            )
    axes.set_yscale("log")
    axes.set_yticks([1, 2, 5, 10, 20], ["1", "2", "5", "10", "20"])
    axes.minorticks_off()
    axes.set_ylim(1, 30)
    axes.set_xticks(range(len(SCENARIOS)), [label for _, label in SCENARIOS])
    axes.set_ylabel("makespan / lower bound (log)")
    axes.grid(axis="y", color="#e3e6ea", linewidth=0.6)
    axes.set_title("1,000 groups", loc="left", fontsize=9)


def main():
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_suffix(".svg")
    source = ROOT / "benchmarks/results/dispatch.csv"
    with source.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    plt.rcParams.update(
        {
            "font.size": 8,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.axisbelow": True,
            "svg.hashsalt": "mechsweep",
        }
    )
    figure, places = plt.subplot_mosaic(
        [["bound", "busy"], ["all", "all"]], figsize=(8.4, 6.2), layout="constrained"
    )
    growth(places["bound"], rows, "makespan_over_bound", 1, "makespan / lower bound")
    growth(places["busy"], rows, "busy_share", 100, "groups busy, loading apart (%)")
    scenarios(places["all"], rows)
    figure.legend(
        *places["bound"].get_legend_handles_labels(),
        loc="outside upper center",
        ncols=4,
        frameon=False,
    )
    figure.savefig(out, dpi=160, metadata={"Date": None} if out.suffix == ".svg" else None)


if __name__ == "__main__":
    main()
