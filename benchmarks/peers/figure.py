"""The figures of a record: times of all sides, and how mechsweep's time grows."""

import json
import sys
from itertools import cycle
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402

OWN = ("#0b5394", "#3d85c6", "#9fc5e8", "#76a5af", "#b7b7b7")
OTHERS = ("#783f04", "#b45f06", "#e69138", "#f6b26b", "#bf9000")
SMALL_SVG_BYTES = 300_000


def colours(names):
    own, others = cycle(OWN), cycle(OTHERS)
    return {name: next(own if name.startswith("mechsweep") else others) for name in names}


def bars(axes, record):
    tasks = record["tasks"]
    names = []
    for task in tasks.values():
        names += [name for name in task["sides"] if name not in names]
    names.sort(key=lambda name: not name.startswith("mechsweep"))
    colour = colours(names)
    labelled, ticks, place = set(), [], 0
    for task in tasks.values():
        present = [name for name in names if name in task["sides"]]
        ticks.append(place + (len(present) - 1) / 2)
        for name in present:
            seconds = task["sides"][name]["seconds"]
            middle = seconds["median"]
            error = [[middle - seconds["min"]], [seconds["max"] - middle]]
            label = None if name in labelled else name
            labelled.add(name)
            axes.bar(place, middle, 0.85, color=colour[name], label=label, yerr=error, capsize=2)
            axes.annotate(
                f"{middle:.3g}" if middle < 1000 else f"{middle:,.0f}",
                (place, seconds["max"]),
                xytext=(0, 2),
                textcoords="offset points",
                ha="center",
                fontsize=6.5,
            )
            place += 1
        place += 1
    axes.set_yscale("log")
    axes.set_ylabel("seconds of the whole task (log)")
    titles = [
        f"{key}\n{task['interventions']:,} interventions" if task["interventions"] else key
        for key, task in tasks.items()
    ]
    axes.set_xticks(ticks, titles)
    axes.margins(y=0.12)
    axes.legend(fontsize=7, ncol=2, frameon=False)
    setting = record["setting"]
    axes.set_title(
        f"SmolLM2-135M, {setting['prompts']} prompts of {setting['length']} tokens, float32, "
        f"{setting['threads']} threads. Peers: the loop only, scaled from a sample",
        fontsize=9,
    )


def growth(figure_axes, record):
    labels = {
        "layers": "layers whose heads are ablated",
        "prompts": "prompts",
        "length": "tokens a prompt",
        "heads": "heads ablated",
    }
    for axes, (panel, label) in zip(figure_axes, labels.items(), strict=True):
        points = [one for one in record["scaling"] if one["panel"] == panel]
        x = [one["x"] for one in points]
        axes.plot(x, [one["wall_s"] for one in points], "o-", color=OWN[0], label="whole program")
        without = [one["wall_s"] - one["load_s"] for one in points]
        axes.plot(x, without, "s--", color=OWN[1], label="without loading")
        axes.set_xlabel(label)
        axes.set_ylabel("seconds")
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    figure_axes[0].legend(fontsize=7, frameon=False)


def draw(record, folder):
    """peers.png and, where it stays small, peers.svg; peers_scaling.* likewise."""
    figure, axes = plt.subplots(figsize=(10, 4.5), layout="constrained")
    bars(axes, record)
    save(figure, folder, "peers")
    if record["scaling"]:
        figure, panels = plt.subplots(1, 4, figsize=(12, 3), layout="constrained")
        growth(panels, record)
        figure.suptitle("heads zeroed at the target position: mechsweep's time", fontsize=9)
        save(figure, folder, "peers_scaling")


def save(figure, folder, name):
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(folder / f"{name}.png", dpi=160)
    figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
    if (folder / f"{name}.svg").stat().st_size > SMALL_SVG_BYTES:
        (folder / f"{name}.svg").unlink()
    plt.close(figure)


if __name__ == "__main__":
    # Draws again from the .json files that it is given.
    for text in sys.argv[1:]:
        draw(json.loads(Path(text).read_text(encoding="utf-8")), Path(text).parent)
