"""Sweeps in which one run chooses heads for another; for test_stages*.py."""

from system_program import model_entry, must, write_config


def prompts(count=24, period=8):
    return {
        "id": "p",
        "kind": "repeated_random",
        "count": count,
        "period": period,
        "repeats": 2,
        "prefix": 0,
        "targets": "last",
    }


def heads(name="heads", **other):
    return {"id": name, "kind": "head_ablation", "operation": "zero", "positions": "all"} | other


def top(name="top", k=(1, 2, 4), source="heads", by="mean(delta_loss)", **other):
    chosen = {"from": source, "by": by, "k": list(k), "on": other.pop("on", "half_a")}
    if (least := other.pop("at_least", None)) is not None:
        chosen["at_least"] = least
    return heads(name, heads={"top": chosen}) | {"evaluate": "half_b"} | other


def swept(folder, experiments, name="r", model="llama-random", ranks=None, **other):
    """Runs a config to its end and returns the results file."""
    config = write_config(
        folder / "in" / f"{name}.yaml", [model_entry(model)], [prompts()], experiments, **other
    )
    results = folder / "out" / f"{name}.h5"
    must("run", config, "--out", results, ranks=ranks)
    return results


def numbers_of(rows, experiment, metric):
    """{(head, prompt): value} of a metric."""
    return {
        (f"L{row['layer']}H{row['head']}", row["prompt"]): float(row["value"])
        for row in rows
        if row["run"].startswith(f"{experiment}/") and row["metric"] == metric
    }


def selection_of(rows, experiment="top"):
    """Heads with their scores, the best first, as the export has them."""
    ranks = numbers_of(rows, experiment, "selected_rank")
    scores = numbers_of(rows, experiment, "selected_score")
    return [(head, scores[head, ""]) for head, _ in sorted(ranks, key=ranks.get)]
