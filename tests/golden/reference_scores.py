"""Attention scores (previous token, duplicate token, induction, offsets, named pairs) from whole
attention patterns, query by query."""

import torch
from reference_prompts import same_length

OCCURRENCES = ("latest", "first", "all")
OFFSETS = (-2, -1, 0, 1, 2)


def score_queries(tokens, offset, occurrence="latest", prefix_length=0):
    """For every query that counts, the keys whose attention is summed: {query: [key, ...]}.

    A query looks for earlier positions s that hold its own token and attends to s + offset. The
    occurrence is chosen first; then a key must be content (not the prefix), and one that lies
    after its s must still come before the query. A query left without any key does not count."""
    found = {}
    for query in range(prefix_length, len(tokens)):
        earlier = [s for s in range(prefix_length, query) if tokens[s] == tokens[query]]
        if occurrence == "latest":
            earlier = earlier[-1:]
        elif occurrence == "first":
            earlier = earlier[:1]
        keys = [s + offset for s in earlier if prefix_length <= s + offset < query]
        if keys:
            found[query] = keys
    return found


def _mean_over(pattern, queries):
    """Mean over the queries of the attention summed over each one's keys; [layer, head]."""
    if not queries:
        return None
    total = sum(pattern[:, :, q, keys].sum(-1) for q, keys in queries.items())
    return (total / len(queries)).numpy()


def scores_of_pattern(pattern, prompt, prefix_length=0):
    """{score: [layer, head] or None} of one prompt from its pattern [layer, head, query, key]."""
    tokens = prompt.tokens
    previous = {q: [q - 1] for q in range(prefix_length + 1, len(tokens))}
    result = {"previous_token": _mean_over(pattern, previous)}
    for occurrence in OCCURRENCES:
        for offset in OFFSETS:
            name = {-1: "anti_induction", 0: "duplicate_token", 1: "induction"}.get(
                offset, f"offset_{offset:+d}"
            )
            queries = score_queries(tokens, offset, occurrence, prefix_length)
            result[f"{name}/{occurrence}"] = _mean_over(pattern, queries)
    for name, pairs in prompt.pairs.items():
        values = [pattern[:, :, query, key] for query, key in pairs]
        result[name] = torch.stack(values).mean(0).numpy() if values else None
    return result


def attention_scores(reference, prompts, prefix_length=0, ablated=()):
    """{prompt: {score: [layer, head] or None}}; the default occurrence is `latest`. `ablated`
    lists (layer, head) pairs whose z is zero everywhere meanwhile."""
    results = {}
    for group in same_length(prompts):
        edits = [
            (row, layer, "z", head, prompt.positions("all"), None)
            for row, prompt in enumerate(group)
            for layer, head in ablated
        ]
        patterns = reference.patterns([prompt.tokens for prompt in group], edits).double()
        for row, prompt in enumerate(group):
            results[prompt.index] = scores_of_pattern(patterns[:, row], prompt, prefix_length)
    return results
