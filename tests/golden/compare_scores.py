"""Attention scores of a results file against whole attention patterns of transformers.

    python compare_scores.py RESULTS.h5 RUN MODEL [N]    # a folder or a .gguf file; N prompts

Every score, by lag, by position and at null sources, is made from the patterns by its definition (a
query with the latest copy). Prints the largest differences; status 1 above 1e-5. Needs h5py beside
the packages of scripts/envs/references.txt.
"""

import sys
from pathlib import Path

import h5py
import numpy as np
from reference_model import Reference

OFFSETS = {"duplicate_token": 0, "induction": 1, "anti_induction": -1}
WITHIN = 1e-5


def latest_copies(tokens, prefix, offset):
    found = []
    for query in range(prefix, len(tokens)):
        sources = [s for s in range(prefix, query) if tokens[s] == tokens[query]][-1:]
        found += [(query, s) for s in sources if prefix <= s + offset < query]
    return found


def mean_score(pattern, pairs):
    """[layer, head]; one key for every query."""
    if not pairs:
        return np.full(pattern.shape[:2], np.nan)
    queries, keys = np.array(pairs).T
    return pattern[:, :, queries, keys].mean(axis=-1)


def known_scores(pattern, tokens, prefix, group, place):
    """{dataset: values} of one prompt, as `group` has datasets."""
    known = {}
    for score, offset in OFFSETS.items():
        copies = latest_copies(tokens, prefix, offset)
        pairs = [(q, s + offset) for q, s in copies]
        known[score] = mean_score(pattern, pairs)
        lags = [[lag] for lag in group["lag"][()]] if "lag" in group else []
        known[f"by_lag/{score}"] = np.stack(
            [mean_score(pattern, [x for x, (q, s) in zip(pairs, copies, strict=True) if q - s in y])
             for y in lags] or [known[score]], axis=-1,
        )  # fmt: skip
        at = [[x for x in pairs if x[0] == position] for position in range(len(tokens))]
        known[f"by_position/{score}"] = np.stack(
            [mean_score(pattern, one).mean(axis=1) for one in at], axis=-1
        )
        folder = group.get(f"null/{score}")
        if folder is None:
            continue
        counts = folder["counts"][place][: len(copies)] == 1
        drawn = folder["null_source"][place][:, : len(copies)][:, counts]
        queries = [q for (q, _), one in zip(copies, counts, strict=True) if one]
        known[f"null/{score}/score"] = mean_score(
            pattern, [x for x, one in zip(pairs, counts, strict=True) if one]
        )
        nulls = [mean_score(pattern, list(zip(queries, d + offset, strict=True))) for d in drawn]
        known[f"null/{score}/null_score"] = np.mean(nulls, axis=0)
        known[f"null/{score}/profile"] = np.mean(nulls, axis=2)
    previous = [(q, q - 1) for q in range(prefix + 1, len(tokens))]
    return known | {"previous_token": mean_score(pattern, previous)}


def main(results, run, model, most=None):
    reference = Reference(Path(model))
    worst, compared = {}, 0
    with h5py.File(results) as file:
        group = file[f"runs/{run}"]
        prompts = file[group.attrs["prompts_group"].decode()]
        for place, length in enumerate(prompts["lengths"][: int(most) if most else None]):
            tokens = prompts["tokens"][place][:length].tolist()
            pattern = np.stack([x[0].double().numpy() for x in reference.patterns([tokens])])
            prefix = int(prompts["prefix_length"][place])
            for name, values in known_scores(pattern, tokens, prefix, group, place).items():
                if not isinstance(group.get(name), h5py.Dataset):
                    continue
                mine = group[name][place]
                assert (np.isnan(mine) == np.isnan(values)).all(), name
                apart = np.nanmax(np.abs(mine - values), initial=0.0)
                worst[name] = max(worst.get(name, 0.0), float(apart))
                compared += int((~np.isnan(values)).sum())
    for name, apart in sorted(worst.items()):
        print(f"{name:32} {apart:.1e}")
    print(f"{compared} numbers compared")
    return int(max(worst.values()) > WITHIN)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
