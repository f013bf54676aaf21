"""Sweeps as plain loops over a Reference: base runs, zeroing, patching, and what is read from the
logits. Prompts are batched only with prompts of the same length."""

import math
from collections import defaultdict

import numpy as np
from reference_prompts import clean_tokens, corrupt_tokens, same_length

DIRECTIONS = ("clean_to_corrupt", "corrupt_to_clean")


def _metrics(target, row):
    top = row.max()
    logsumexp = top + math.log(np.exp(row - top).sum())
    values = {
        "loss": float(logsumexp - row[target.answer]),
        "logsumexp": float(logsumexp),
        "vocab_mean": float(row.mean()),
        "top1": int(row.argmax()),  # the lowest id of equals
        "answer_rank": int((row > row[target.answer]).sum()),
        "logits": [float(row[token]) for token in target.tracked()],
    }
    if target.wrong:
        values["margin"] = float(row[target.answer] - max(row[token] for token in target.wrong))
    return values


def read_targets(reference, prompts, states):
    """[prompt][target] -> metrics from final states [prompt, length, width]. Only the rows that
    are read are unembedded; losses are summed in double precision from the model's logits."""
    wanted = [(row, target) for row, prompt in enumerate(prompts) for target in prompt.targets]
    picked = states[[row for row, _ in wanted], [target.at for _, target in wanted]]
    found = [[] for _ in prompts]
    logits = reference.logits(picked).double().numpy()
    for (row, target), values in zip(wanted, logits, strict=True):
        found[row].append(_metrics(target, values))
    return found


def base(reference, prompts, which=clean_tokens):
    """[prompt][target] -> metrics of the unedited run."""
    results = {}
    for group in same_length(prompts):
        states, _ = reference.final_states([which(prompt) for prompt in group])
        found = read_targets(reference, group, states)
        results.update((prompt.index, one) for prompt, one in zip(group, found, strict=True))
    return results


def run_edits(reference, prompts, which, edits, rows_at_once=64):
    """Runs edited passes. `edits` lists (key, prompt, [(layer, site, head, positions, value)]);
    returns {key: [target] -> metrics}."""
    results = {}
    by_length = defaultdict(list)
    for item in edits:
        by_length[len(item[1].tokens)].append(item)
    for items in by_length.values():
        for start in range(0, len(items), rows_at_once):
            part = items[start : start + rows_at_once]
            tokens = [which(prompt) for _, prompt, _ in part]
            flat = [(row, *edit) for row, (_, _, some) in enumerate(part) for edit in some]
            states, _ = reference.final_states(tokens, flat)
            found = read_targets(reference, [prompt for _, prompt, _ in part], states)
            results.update((key, one) for (key, _, _), one in zip(part, found, strict=True))
    return results


def _plan(reference, prompts, site, positions, layers, value_of):
    """Keys (layer, head, position, prompt) and the edit of each; position is None for a joint
    edit, head is None where the site has no heads."""
    heads = range(reference.head_count) if site == "z" else [None]
    for layer in layers:
        for head in heads:
            for prompt in prompts:
                if positions == "each":
                    chosen = [(at, [at]) for at in range(len(prompt.tokens))]
                else:
                    chosen = [(None, prompt.positions(positions))]
                for label, where in chosen:
                    value = value_of(prompt, layer, head, where)
                    edit = (layer, site, head, where, value)
                    yield (layer, head, label, prompt.index), prompt, [edit]


def ablation(
    reference, prompts, site="z", positions="all", layers=None, which=clean_tokens, rows=64
):
    """Zero at a site. {(layer, head, position, prompt): [target] -> metrics}"""
    layers = range(reference.layer_count) if layers is None else layers
    edits = list(_plan(reference, prompts, site, positions, layers, lambda *_: None))
    return run_edits(reference, prompts, which, edits, rows)


def patching(reference, prompts, site, direction, positions="all", layers=None, rows=64):
    """Writes the donor run's value at a site into the other run. Keys as in `ablation`."""
    layers = range(reference.layer_count) if layers is None else layers
    into, donor = (
        (corrupt_tokens, clean_tokens)
        if direction == "clean_to_corrupt"
        else (clean_tokens, corrupt_tokens)
    )
    kept = {}
    for group in same_length(prompts):
        wanted = [(layer, site) for layer in layers]
        _, captured = reference.final_states([donor(p) for p in group], capture=wanted)
        for row, prompt in enumerate(group):
            kept[prompt.index] = {layer: captured[layer, site][row] for layer in layers}

    def value_of(prompt, layer, head, where):
        return kept[prompt.index][layer][where][:, reference.columns(head)]

    edits = list(_plan(reference, prompts, site, positions, layers, value_of))
    return run_edits(reference, prompts, into, edits, rows)


def joint_head_ablation(reference, prompts, heads, positions="all", which=clean_tokens):
    """Zero z of all the (layer, head) pairs at once. {prompt: [target] -> metrics}"""
    edits = []
    for prompt in prompts:
        where = prompt.positions(positions)
        edits.append(
            (prompt.index, prompt, [(layer, "z", head, where, None) for layer, head in heads])
        )
    return run_edits(reference, prompts, which, edits)
