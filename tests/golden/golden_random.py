"""Goldens of the random checkpoints: base runs, zeroing and patching at every site, scores."""

import numpy as np
import reference_sweep as sweep
from golden_files import DIGITS, HERE, made_by, rounded, write_json
from golden_results import (
    CHECKPOINTS,
    DTYPES,
    RANDOM_PROMPTS,
    SHORT,
    base_block,
    leaves,
    read_prompts,
    targets_of,
)

GOLDEN_NAMES = {
    "gpt2-random": "random_gpt2.json",
    "llama-random": "random_llama.json",
    "llama-random-sharded": "random_llama_sharded.json",
}


def _grid(reference, prompts, site, results, metric, each):
    """Nested lists [layer][head, for z][target], or [...][target][position] for `each`."""
    heads = range(reference.head_count) if site == "z" else [None]

    def values(layer, head):
        if metric == "logits":
            return [
                value
                for prompt in prompts
                for row in results[layer, head, None, prompt.index]
                for value in row["logits"]
            ]
        found = []
        for prompt in prompts:
            for order in range(len(prompt.targets)):
                if each:
                    places = range(len(prompt.tokens))
                    row = [results[layer, head, at, prompt.index][order][metric] for at in places]
                    found.append(row)
                else:
                    found.append(results[layer, head, None, prompt.index][order][metric])
        return found

    grid = [[values(layer, head) for head in heads] for layer in range(reference.layer_count)]
    return grid if site == "z" else [row[0] for row in grid]


def _random_run(references, prompts, operation, site, positions, direction):
    each = positions == "each"
    axes = ["layer", *(["head"] if site == "z" else []), "target", *(["position"] if each else [])]
    run = {"operation": operation, "site": site, "positions": positions, "direction": direction}
    run["axes"] = axes
    worst = {}
    raw = {}
    for dtype, reference in references.items():
        if operation == "zero":
            results = sweep.ablation(reference, prompts, site, positions)
        else:
            results = sweep.patching(reference, prompts, site, direction, positions)
        for metric in ("loss",) if each else ("loss", "logits"):
            grid = _grid(reference, prompts, site, results, metric, each)
            run[f"{metric}_{SHORT[dtype]}"] = rounded(grid, DIGITS[dtype])
            raw[metric, dtype] = grid
        if not each:
            tops = _grid(reference, prompts, site, results, "top1", each)
            if run.setdefault("top1", tops) != tops:
                run["top1_fp32"], run["top1"] = run["top1"], tops
    for metric in ("loss", "logits"):
        if (metric, "float32") in raw:
            both = zip(leaves(raw[metric, "float32"]), leaves(raw[metric, "float64"]), strict=True)
            worst[metric] = max(abs(a - b) for a, b in both)
    return run, worst


RANDOM_NOTE = (
    "Every axis called target runs over all targets of all prompts in file order (targets gives "
    "prompt, position and tracked tokens of each). logits_* of a run drop the target axis and list "
    "the tracked logits of all targets one after the other. A position axis is ragged: as long as "
    "the target's prompt. Replacing: clean_to_corrupt writes clean values into the corrupt run, "
    "corrupt_to_clean the other way round; the clean targets score both. Zeroing is on the clean "
    "run. z has a head axis and each head is edited alone. positions other than each are one joint "
    "edit. Scores: [prompt][layer][head], null where no query counts."
)


def make_random(_):
    for folder in CHECKPOINTS:
        path = HERE / "checkpoints" / folder
        references = {dtype: sweep.Reference(path, dtype) for dtype in DTYPES}
        name = RANDOM_PROMPTS.get(folder, "random_llama.jsonl")
        prompts = read_prompts(name)
        clean, measured_clean = base_block(references, prompts)
        corrupt, _ = base_block(references, prompts, sweep.corrupt_tokens)
        worst = {"base": measured_clean, "loss": 0.0, "logits": 0.0}
        runs = []
        for operation, direction in (("zero", None), *(("replace", d) for d in sweep.DIRECTIONS)):
            for site in sweep.SITES:
                for positions in ("all", "targets", "swapped", [0, -1], "each"):
                    run, apart = _random_run(
                        references, prompts, operation, site, positions, direction
                    )
                    runs.append(run)
                    for metric, value in apart.items():
                        worst[metric] = max(worst[metric], value)
                _check_runs(site, runs[-5:], operation, direction, clean, corrupt)
        scores = {}
        apart = 0.0
        for prefix_length in (0, 1):
            found = {
                dtype: sweep.attention_scores(reference, prompts, prefix_length)
                for dtype, reference in references.items()
            }
            names = found["float64"][0].keys()
            scores[f"prefix_length_{prefix_length}"] = {
                score: rounded(
                    [
                        None if (v := found["float64"][p.index][score]) is None else v.tolist()
                        for p in prompts
                    ],
                    DIGITS["float64"],
                )
                for score in names
            }
            for prompt in prompts:
                for score in names:
                    a, b = (found[dtype][prompt.index][score] for dtype in DTYPES)
                    if a is not None:
                        apart = max(apart, float(np.abs(a - b).max()))
        worst["scores"] = apart
        content = {
            "made_by": made_by("torch", "transformers", "numpy"),
            "model": f"checkpoints/{folder}",
            "prompts": f"prompts/{name}",
            "note": RANDOM_NOTE,
            "largest_fp32_minus_fp64": rounded(worst, 3),
            "targets": targets_of(prompts),
            "base": clean,
            "corrupt": corrupt,
            "runs": runs,
            "scores_fp64": scores,
        }
        print(folder, "fp32 against fp64:", rounded(worst, 3))
        write_json(GOLDEN_NAMES[folder], content)


def _check_runs(site, runs, operation, direction, clean, corrupt):
    """Replacing a whole residual stream must give the donor's run: this would fail if, say, the
    edit of resid_mid reached the MLP but not the sum after it."""
    if operation != "replace" or not site.startswith("resid"):
        return
    donor = clean if direction == "clean_to_corrupt" else corrupt
    for layer in runs[0]["loss_fp64"]:
        assert np.allclose(layer, donor["fp64"]["loss"], rtol=0, atol=1e-9), (site, direction)
