#!/usr/bin/env python3
"""The Python part of scripts/check_published.sh: which model is it, and do its facts hold?

    scripts/published_facts.py config INSPECT MODEL --out DIR
    scripts/published_facts.py compare INSPECT SUMMARY

INSPECT is what `mechsweep inspect MODEL` printed. `config` writes the sweep that the facts need
into DIR and prints its path without the ending; `compare` says of every fact in
published_facts.json whether the summary of that sweep agrees. Exit status: 0 all hold, 1 some do
not, 2 no facts are known for the model, 3 a file that cannot be used.
"""

import argparse
import json
import re
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
FACTS = ROOT / "scripts" / "published_facts.json"
sys.path.insert(0, str(ROOT / "analysis"))

from mechsweep_analysis.errors import ReportError  # noqa: E402
from mechsweep_analysis.summary import load_summary  # noqa: E402

DOES_NOT_HOLD, UNKNOWN_MODEL, BAD_INPUT = 1, 2, 3
SCORES = "scores"
HEADS = "heads"
# The published table does not say from where its noise tokens are; both are tried.
NOISE_POOLS = ("letters", "vocabulary")


class FactsError(Exception):
    """One sentence for people, and the exit status."""

    def __init__(self, message, status):
        super().__init__(message)
        self.status = status


# --------------------------------------------------------------------------- which model it is


def inspected(text):
    """{fact: text} of what `mechsweep inspect` prints; the architecture without its description."""
    facts = {}
    for line in text.splitlines():
        found = re.fullmatch(r"(\S+) +(\S+).*", line)
        if found:
            facts.setdefault(found[1], found[2])
    return facts


def recognise(facts, known):
    """The entry of published_facts.json that fits; FactsError where none does."""
    for model in known:
        if all(facts.get(name) == str(value) for name, value in model["match"].items()):
            return model
    sizes = ", ".join(
        f"{name} {facts.get(name, 'unknown')}"
        for name in ("architecture", "n_layers", "n_heads", "d_model")
    )
    names = ", ".join(model["name"] for model in known)
    raise FactsError(
        f"no published facts are known for this model ({sizes}); they are for {names}.",
        UNKNOWN_MODEL,
    )


# --------------------------------------------------------------------------- what has to be run


def config_of(model, path):
    """The sweep that a model's facts need, as the text of a config."""
    scores = [fact["metric"] for fact in model["facts"] if fact["kind"] == "heads"]
    operations = [op for fact in model["facts"] for op in fact.get("operations", [])]
    prefix = model["prefix"]
    prompts, experiments = [], []
    if scores:
        prompts.append(
            f"{{id: repeat, kind: repeated_random, count: 64, period: 32, repeats: 2, "
            f"prefix: {prefix}, targets: last}}"
        )
        experiments.append(
            f"{{id: {SCORES}, kind: attention_scores, prompts: [repeat], "
            f"scores: [{', '.join(scores)}]}}"
        )
    for pool in NOISE_POOLS if operations else ():
        prompts.append(
            f"{{id: {pool}_noise, kind: ab_noise_a, count: 64, noise: 32, noise_pool: {pool}, "
            f"prefix: {prefix}}}"
        )
    if operations:
        experiments.append(
            f"{{id: {HEADS}, kind: head_ablation, positions: all, "
            f"prompts: [{', '.join(f'{pool}_noise' for pool in NOISE_POOLS)}], "
            f"operation: [{', '.join(operations)}]}}"
        )
    lines = [
        f"# Made by scripts/check_published.sh: what the published facts of {model['name']} need.",
        f"name: published_{slug(model)}",
        "seed: 42",
        f"models: [{{id: {slug(model)}, path: {json.dumps(str(path))}}}]",
        "prompts:",
        *(f"  - {one}" for one in prompts),
        "experiments:",
        *(f"  - {one}" for one in experiments),
        "execution: {memory_gib: 1}",
    ]
    return "\n".join(lines) + "\n"


def slug(model):
    return re.sub(r"[^a-z0-9]+", "-", model["name"].lower()).strip("-")


# --------------------------------------------------------------------------- what holds


def name_of(head):
    return f"L{head[0]}H{head[1]}"


def ranked(metric):
    """[(layer, head, mean), ...] of a metric [L, H], the largest mean first."""
    layers, heads = (metric.axis(name).values for name in ("layer", "head"))
    means = metric.ordered(("layer", "head")).mean
    order = np.argsort(-means.ravel(), kind="stable")
    places = [np.unravel_index(place, means.shape) for place in order]
    return [
        (layers[i], heads[j], float(means[i, j])) for i, j in places if np.isfinite(means[i, j])
    ]


def judge_heads(fact, metric):
    """Yields (holds, sentence) for one fact about the heads with the largest scores."""
    table = ranked(metric)
    best = [row[:2] for row in table[: fact["within"]]]
    expected = [tuple(head) for head in fact["heads"]]
    missing = [name_of(head) for head in expected if head not in best]
    first = ", ".join(f"{name_of(row)} {row[2]:.3f}" for row in table[: fact["within"]])
    among = "the largest" if fact["within"] == 1 else f"among the {fact['within']} largest"
    verb = "is" if len(expected) == 1 else "are"
    said = f"{fact['metric']}: {', '.join(map(name_of, expected))} {verb} {among}"
    ours = f"here: {first}" + (f"; not {', '.join(missing)}" if missing else "")
    yield not missing, f"{said} ({ours})"
    means = {row[:2]: row[2] for row in table}
    for head, value in zip(expected, fact.get("values", []), strict=False):
        mean = means.get(head, float("nan"))
        holds = abs(mean - value) <= fact["tolerance"]
        yield (
            holds,
            f"{fact['metric']} of {name_of(head)} is {value:g} within {fact['tolerance']:g} "
            f"(here: {mean:.3f})",
        )


def tables_by_operation(fact, runs):
    """{how heads were removed: ranked heads} over the noise pools and operations of a fact."""
    tables = {}
    for run in runs:
        metric = run.metrics["delta_loss"]
        for place, operation in enumerate(metric.axis("operation").values):
            if operation in fact["operations"]:
                label = f"{operation}, {run.prompts.replace('_', ' ')}"
                tables[label] = ranked(metric.at({"operation": place}))
    return tables


def judge_ranking(fact, runs):
    """The same for a published table of heads, by the way of removing them that fits it best."""
    tables = tables_by_operation(fact, runs)
    published = [tuple(row[:2]) for row in fact["top"]]

    def shared(label):
        ours = [row[:2] for row in tables[label][: len(published)]]
        return [head for head in published if head in ours]

    best = max(tables, key=lambda label: len(shared(label)))
    table, both = tables[best], shared(best)
    yield (
        len(both) >= fact["shared_at_least"],
        f"the {len(published)} heads with the largest effect share at least "
        f"{fact['shared_at_least']} with the published ones (here, {best}: {len(both)}, "
        f"{', '.join(map(name_of, both))})",
    )
    yield (
        table[0][:2] == published[0],
        f"{name_of(published[0])} has the largest effect, {fact['top'][0][2]:g} nats (here: "
        f"{name_of(table[0])}, {table[0][2]:.3f})",
    )
    effects = np.array([row[2] for row in table])
    top = effects[: len(published)]
    yield (
        None,
        f"{fact['positive']} of {fact['heads']} effects are positive, the top {len(published)} "
        f"have mean {fact['top_mean']:g} and median {fact['top_median']:g} nats (here: "
        f"{(effects > 0).sum()} of {effects.size}, {top.mean():.3f} and {np.median(top):.3f})",
    )


def judge(model, summary):
    """Yields (holds, sentence) for every fact; holds is None where a fact is only shown."""
    for fact in model["facts"]:
        scores = fact["kind"] == "heads"
        experiment, metric = (SCORES, fact["metric"]) if scores else (HEADS, "delta_loss")
        runs = [
            run for run in summary.runs if run.experiment == experiment and metric in run.metrics
        ]
        if not runs:
            raise FactsError(
                f"{summary.path} has no {metric} of an experiment {experiment}; let "
                "scripts/check_published.sh make it.",
                BAD_INPUT,
            )
        yield from (
            judge_heads(fact, runs[0].metrics[metric]) if scores else judge_ranking(fact, runs)
        )


def compare(model, summary):
    """Prints every fact; returns the exit status."""
    print(f"{model['name']}, recognised by its sizes; source: {model['source']}.")
    for run in summary.runs:
        loss, accuracy = run.numbers["base_loss"], run.numbers["base_accuracy"]
        if np.isfinite(loss):
            chance = run.numbers["chance_loss"]
            print(
                f"  base run of {run.run_id}: loss {loss:.3f} nats (chance {chance:.3f}), "
                f"accuracy {100 * accuracy:.1f} %"
            )
    holding = failing = 0
    for holds, sentence in judge(model, summary):
        word = {True: "holds", False: "DOES NOT HOLD", None: "not judged"}[holds]
        print(f"  {word:13}  {sentence}")
        holding += holds is True
        failing += holds is False
    print(f"{holding} of {holding + failing} facts hold.")
    return DOES_NOT_HOLD if failing else 0


# --------------------------------------------------------------------------- the command


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    config = commands.add_parser("config")
    config.add_argument("inspect", type=Path)
    config.add_argument("model", type=Path)
    config.add_argument("--out", type=Path, required=True)
    comparison = commands.add_parser("compare")
    comparison.add_argument("inspect", type=Path)
    comparison.add_argument("summary", type=Path)
    for command in (config, comparison):
        command.add_argument("--facts", type=Path, default=FACTS, help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    chosen = arguments()
    try:
        known = json.loads(chosen.facts.read_text(encoding="utf-8"))["models"]
        model = recognise(inspected(chosen.inspect.read_text(encoding="utf-8")), known)
        if chosen.command == "compare":
            return compare(model, load_summary(chosen.summary))
        stem = chosen.out / slug(model)
        stem.with_suffix(".yaml").write_text(config_of(model, chosen.model), encoding="utf-8")
        print(stem)
    except FactsError as error:
        print(f"check_published: {error}", file=sys.stderr)
        return error.status
    except (ReportError, OSError) as error:
        print(f"check_published: {error}", file=sys.stderr)
        return BAD_INPUT
    return 0


if __name__ == "__main__":
    sys.exit(main())
