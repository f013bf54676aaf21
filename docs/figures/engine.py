"""Draws docs/figures/engine.svg: the rows that an intervention needs (docs/engine.md).

    .deps/analysis/bin/python docs/figures/engine.py [FILE.svg | FILE.png]

The cells follow the rules of the wavefront executor for a model of six layers, a prompt of eight
tokens and one read at the last position. Running it again gives the same bytes.
"""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.patches import Rectangle

LAYERS = 6
TOKENS = 8
READ = TOKENS - 1

# What happens to a row (position) in a layer.
SHARED, COPIED, KEYS, FULL = "shared", "copied", "keys", "full"

INK = "#1d2733"
BASE = "#4a6fa5"
OWN = "#d9772b"
FAINT = "#9aa3af"


def base_cells():
    """A run without edits: all rows, but in the last layer only what the read needs."""
    return {
        (layer, t): FULL if layer + 1 < LAYERS or t == READ else KEYS
        for layer in range(LAYERS)
        for t in range(TOKENS)
    }


def branch_cells(first_layer, born, reached):
    """A branch that owns `born` rows from `first_layer` on, and `reached` rows by their side.

    `born` says how each position begins (FULL: from the layer's input, COPIED: in mid-layer).
    """
    cells = {}
    for layer in range(LAYERS):
        for t in range(TOKENS):
            if layer < first_layer or t not in born | reached:
                kind = SHARED
            elif layer == first_layer:
                kind = born[t] if t in born else reached[t]
            else:
                kind = FULL
            if layer + 1 == LAYERS and t != READ and kind == FULL:
                kind = KEYS
            cells[layer, t] = kind
    return cells


def panels():
    """Title, cells, colour and edited places of each panel."""
    everywhere = dict.fromkeys(range(TOKENS), COPIED)
    later = dict.fromkeys(range(4, TOKENS), COPIED)
    return [
        ("Base run, computed once for all", base_cells(), BASE, []),
        (
            "One head of layer 2 removed at the target",
            branch_cells(2, {READ: COPIED}, {}),
            OWN,
            [(2, READ)],
        ),
        (
            "The same head removed at all positions",
            branch_cells(2, everywhere, {}),
            OWN,
            [(2, t) for t in range(TOKENS)],
        ),
        (
            "resid_pre of layer 2 patched at position 3",
            branch_cells(2, {3: FULL}, later),
            OWN,
            [(2, 3)],
        ),
    ]


def draw_cell(axes, x, y, kind, colour):
    """One cell, 1 wide and high, its lower left corner at (x, y) but for a gap."""
    gap, size = 0.06, 0.88
    left, low = x + gap, y + gap
    edge = FAINT if kind == SHARED else colour
    fill = colour if kind == FULL else "white"
    axes.add_patch(Rectangle((left, low), size, size, fc=fill, ec=edge, lw=1.0))
    half = size * 0.42
    if kind in (KEYS, COPIED):
        bottom = low if kind == KEYS else low + size - half
        axes.add_patch(Rectangle((left, bottom), size, half, fc=colour, ec="none"))


def mark_edit(axes, x, y):
    axes.plot(x, y, marker="X", ms=8.5, mfc="white", mec=INK, mew=1.1, ls="none", zorder=5)


def draw_panel(axes, title, cells, colour, edits):
    for (layer, t), kind in cells.items():
        draw_cell(axes, t, layer, kind, colour)
    for layer, t in edits:
        mark_edit(axes, t + 0.5, layer + 0.5)
    x = READ + 0.5
    axes.annotate(
        "",
        xy=(x, LAYERS + 0.85),
        xytext=(x, LAYERS + 0.02),
        arrowprops={"arrowstyle": "-|>", "color": INK, "lw": 1.6, "mutation_scale": 13},
    )
    axes.text(x - 0.35, LAYERS + 0.45, "read", ha="right", va="center", fontsize=10.5, color=INK)
    axes.set_title(title, fontsize=12, color=INK, loc="left", pad=8)
    axes.set_xlim(-0.1, TOKENS + 0.1)
    axes.set_ylim(-0.1, LAYERS + 0.9)
    axes.set_aspect("equal")
    axes.set_xticks([t + 0.5 for t in range(TOKENS)], range(TOKENS), fontsize=10, color=INK)
    axes.set_yticks([y + 0.5 for y in range(LAYERS)], range(LAYERS), fontsize=10, color=INK)
    axes.tick_params(length=0, pad=3)
    for spine in axes.spines.values():
        spine.set_visible(False)


def draw_legend(axes):
    axes.set_xlim(0, 30)
    axes.set_ylim(0, 3)
    axes.set_aspect("equal")
    axes.axis("off")
    entries = [
        (0.0, 1.6, FULL, BASE, "row of the base run"),
        (0.0, 0.1, FULL, OWN, "the branch's own row"),
        (8.6, 1.6, COPIED, OWN, "own from the middle of the layer on: copied, then changed"),
        (8.6, 0.1, KEYS, OWN, "keys and values only: rows of the last layer that nobody reads"),
    ]
    for x, y, kind, colour, text in entries:
        draw_cell(axes, x, y, kind, colour)
        axes.text(x + 1.3, y + 0.5, text, va="center", fontsize=10.5, color=INK)
    draw_cell(axes, 0.0, -1.4, SHARED, OWN)
    axes.text(1.3, -0.9, "shared, not computed", va="center", fontsize=10.5, color=INK)
    mark_edit(axes, 9.1, -0.9)
    axes.text(9.9, -0.9, "edit", va="center", fontsize=10.5, color=INK)
    axes.set_ylim(-1.5, 2.7)


def main(arguments):
    target = Path(arguments[0]) if arguments else Path(__file__).with_name("engine.svg")
    if target.suffix not in (".svg", ".png"):
        sys.exit(f"{target}: not a .svg or .png file; {__doc__.splitlines()[2].strip()}")
    plt.rcParams.update({"svg.fonttype": "path", "svg.hashsalt": "mechsweep"})
    figure = plt.figure(figsize=(9.4, 8.9))
    grid = figure.add_gridspec(
        3, 2, height_ratios=[1, 1, 0.34], hspace=0.33, wspace=0.12,
        left=0.07, right=0.985, top=0.955, bottom=0.015,
    )  # fmt: skip
    for i, panel in enumerate(panels()):
        axes = figure.add_subplot(grid[i // 2, i % 2])
        draw_panel(axes, *panel)
        axes.set_xlabel("position", fontsize=10.5, color=INK, labelpad=2)
        if i % 2 == 0:
            axes.set_ylabel("layer", fontsize=10.5, color=INK, labelpad=4)
    draw_legend(figure.add_subplot(grid[2, :]))
    metadata = {"Date": None, "Creator": None} if target.suffix == ".svg" else None
    figure.savefig(target, dpi=110, facecolor="white", metadata=metadata)


if __name__ == "__main__":
    main(sys.argv[1:])
