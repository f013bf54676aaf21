"""A slow, independent path to mechsweep's numbers: transformers, forward hooks, one full pass each.

    python reference_sweep.py MODEL PROMPTS.jsonl --task head_ablation --positions all --out x.csv

MODEL is a Hugging Face folder or a .gguf file. PROMPTS is a prompt file that gives token ids
(`tokens`, `targets` or `answer`/`wrong`, `corrupt_tokens`, `spans`, `pairs`). The output has one
row per number, in the columns that `mechsweep export` prints.

Nothing here shares code or ideas with the engine: every intervention is a whole forward pass of
the transformers model with hooks on its modules, and prompts are batched only with prompts of the
same length, so that neither padding nor an attention mask can play a part. It serves as a library
for the golden generator and for benchmarks; the entry points are Reference and the task functions
base, ablation, patching and attention_scores. They and the rest of the library are
defined in reference_prompts, reference_model, reference_tasks and reference_scores.
"""

import argparse
import csv
import json
import math
import sys
from pathlib import Path

import numpy as np
import torch
import transformers
from reference_model import SITES, Reference
from reference_prompts import (
    Prompt,
    Target,
    clean_tokens,
    corrupt_tokens,
    parse_prompt,
    read_prompts,
)
from reference_scores import attention_scores
from reference_tasks import (
    DIRECTIONS,
    ablation,
    base,
    joint_head_ablation,
    patching,
    read_targets,
    run_edits,
)

__all__ = [
    "DIRECTIONS",
    "SITES",
    "Prompt",
    "Reference",
    "Target",
    "ablation",
    "attention_scores",
    "base",
    "clean_tokens",
    "corrupt_tokens",
    "joint_head_ablation",
    "parse_prompt",
    "patching",
    "read_prompts",
    "read_targets",
    "run_edits",
    "versions",
]

TASKS = ("base", "head_ablation", "site_ablation", "activation_patching", "attention_scores")
RECOVERY_FLOOR = 0.1


COLUMNS = ["run", "model", "prompts", "layer", "head", "position", "prompt", "metric", "value"]


def _number(value):
    if isinstance(value, int):
        return str(value)
    return "nan" if value is None or math.isnan(value) else f"{value:.12g}"


def _blank(value):
    return "" if value is None else value


def _plain(metrics):
    """The metrics under the names of the export."""
    row = {key: value for key, value in metrics.items() if key != "logits"}
    row.update({f"logit_{order}": value for order, value in enumerate(metrics["logits"])})
    return row


def _edited(metrics, base_metrics, donor_metrics):
    row = _plain(metrics)
    for name in ("loss", "margin"):
        if name not in metrics:
            continue
        row[f"delta_{name}"] = metrics[name] - base_metrics[name]
        if donor_metrics is not None:
            span = donor_metrics[name] - base_metrics[name]
            known = abs(span) >= RECOVERY_FLOOR
            row[f"recovery_{name}"] = row[f"delta_{name}"] / span if known else math.nan
    return row


class Table:
    """Collects rows of the export; a `target` column appears when a prompt has several."""

    def __init__(self, run, model, prompts, entries):
        self.head = [run, model, prompts]
        self.with_target = any(len(prompt.targets) > 1 for prompt in entries)
        self.rows = []

    def add(self, layer, head, position, target, prompt, metric, value):
        axes = [_blank(layer), _blank(head), _blank(position)]
        if self.with_target:
            axes.append(_blank(target))
        self.rows.append([*self.head, *axes, prompt, metric, _number(value)])

    def add_targets(self, prefix, key, prompt, targets):
        for target, row in enumerate(targets):
            for metric, value in row.items():
                self.add(*key, target, prompt, prefix + metric, value)

    def columns(self):
        return COLUMNS[:6] + (["target"] if self.with_target else []) + COLUMNS[6:]

    def write(self, out, form):
        if form == "csv":
            writer = csv.writer(out, lineterminator="\n")
            writer.writerow(self.columns())
            writer.writerows(self.rows)
        else:
            made_by = {"script": "tests/golden/reference_sweep.py", **versions()}
            json.dump({"made_by": made_by, "columns": self.columns(), "rows": self.rows}, out)


def run_task(reference, prompts, task, table, *, site, direction, positions, prefix_length=0):
    """Fills the table with everything that a task says about the prompts."""
    if task == "attention_scores":
        for index, scores in attention_scores(reference, prompts, prefix_length).items():
            for name, values in scores.items():
                if values is None:
                    continue
                for (layer, head), value in np.ndenumerate(values):
                    table.add(layer, head, None, None, index, name, float(value))
        return
    patched = task == "activation_patching"
    swapped = patched and direction == "clean_to_corrupt"
    base_run = base(reference, prompts, corrupt_tokens if swapped else clean_tokens)
    donor_run = None
    if patched:
        donor_run = base(reference, prompts, clean_tokens if swapped else corrupt_tokens)
    nowhere = (None, None, None)
    for index, targets in base_run.items():
        table.add_targets("base_", nowhere, index, [_plain(row) for row in targets])
    if task == "base":
        return
    if patched:
        for index, targets in donor_run.items():
            table.add_targets("donor_", nowhere, index, [_plain(row) for row in targets])
        edited = patching(reference, prompts, site, direction, positions)
    else:
        edited = ablation(reference, prompts, "z" if task == "head_ablation" else site, positions)
    for (layer, head, position, index), targets in edited.items():
        donors = donor_run[index] if patched else [None] * len(targets)
        rows = [_edited(*one) for one in zip(targets, base_run[index], donors, strict=True)]
        table.add_targets("", (layer, head, position), index, rows)


def parse_positions(text):
    if text.startswith("["):
        return json.loads(text)
    return text


def versions():
    return {
        "python": ".".join(map(str, sys.version_info[:3])),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "numpy": np.__version__,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="a Hugging Face folder or a .gguf file")
    parser.add_argument("prompts", type=Path, help="a prompt file with token ids")
    parser.add_argument("--task", choices=TASKS, default="base")
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    parser.add_argument("--site", choices=SITES, default="resid_pre")
    parser.add_argument("--direction", choices=DIRECTIONS, default="clean_to_corrupt")
    parser.add_argument("--positions", default="all", help="all, targets, each, a span, or [0, -1]")
    parser.add_argument("--prefix-length", type=int, default=0, help="prefix tokens (scores)")
    parser.add_argument("--id", default="", help="the run id; default: the task's name")
    parser.add_argument("--format", choices=["csv", "json"], default="csv")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="default: standard output")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    reference = Reference(arguments.model, arguments.dtype)
    prompts = read_prompts(arguments.prompts)
    model, name = arguments.model.stem, arguments.prompts.stem
    run = f"{arguments.id or arguments.task}/{model}/{name}"
    table = Table(run, model, name, prompts)
    run_task(
        reference,
        prompts,
        arguments.task,
        table,
        site=arguments.site,
        direction=arguments.direction,
        positions=parse_positions(arguments.positions),
        prefix_length=arguments.prefix_length,
    )
    if arguments.out:
        with open(arguments.out, "w", encoding="utf-8", newline="") as out:
            table.write(out, arguments.format)
    else:
        table.write(sys.stdout, arguments.format)


if __name__ == "__main__":
    main()
