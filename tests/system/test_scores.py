"""Attention scores by lag, by position, on diagonals and at null sources, each made a second time
from whole attention patterns of transformers (tests/golden/golden_score_patterns.py) by its
definition, query by query."""

import json

import h5py
import numpy as np
import pytest
from system_program import GOLDEN, export_rows, model_entry, must, prompt_file, run, write_config

MODELS = ("gpt2-random", "gpt-neox-parallel", "llama-random")
OFFSETS = {"duplicate_token": 0, "induction": 1, "anti_induction": -1}
SCORES = ["previous_token", *OFFSETS, "chosen"]
LAGS = [1, 2, 5, 7]
SPLIT = 4
DRAWS = 20
WITHIN = 1e-5
NULL = {"draws": DRAWS, "max_shift": 3}


@pytest.fixture(scope="module")
def patterns():
    content = json.loads((GOLDEN / "score_patterns.json").read_text())["patterns"]
    return {
        name: [[[[np.array(row) for row in head] for head in layer] for layer in prompt]
               for prompt in content[name]]
        for name in MODELS
    }  # fmt: skip


@pytest.fixture(scope="module")
def prompts():
    lines = (GOLDEN / "prompts" / "score_patterns.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The file of a sweep with every kind of score; `all` has two runs for each model."""
    folder = tmp_path_factory.mktemp("scores")
    full = {"kind": "attention_scores", "scores": SCORES, "lags": LAGS, "lag_split": SPLIT}
    null = {"null_sources": NULL, "top_fraction": 0.5}
    experiments = [
        full | {"id": "layers", "by_position": "layers"} | null,
        full | {"id": "heads", "by_position": "heads", "occurrence": "all"} | null,
        full | {"id": "first", "occurrence": "first"},
    ]
    config = write_config(
        folder / "sweep.yaml",
        [model_entry(name) for name in MODELS],
        [prompt_file("score_patterns")],
        experiments,
    )
    must("run", config, "--out", folder / "r.h5")
    return folder / "r.h5"


def copies(prompt, occurrence, offset):
    """(query, source) whose key, source + offset, counts."""
    tokens, prefix = prompt["tokens"], prompt.get("prefix_length", 0)
    found = []
    for query in range(prefix, len(tokens)):
        sources = [s for s in range(prefix, query) if tokens[s] == tokens[query]]
        kept = {"latest": sources[-1:], "first": sources[:1], "all": sources}[occurrence]
        found += [(query, s) for s in kept if prefix <= s + offset < query]
    return found


def mean_score(pattern, pairs, score=""):
    """[layer, head] of (query, key) pairs: mean over queries of the sum over a query's keys. Of the
    prompt's own pairs each is a query."""
    queries = pairs if score == "chosen" else {query for query, _ in pairs}
    return np.array(
        [
            [
                sum(head[query][key] for query, key in pairs) / len(queries) if queries else np.nan
                for head in layer
            ]
            for layer in pattern
        ]
    )


def pairs_of(prompt, score, occurrence):
    if score == "chosen":
        return [tuple(pair) for pair in prompt.get("pairs", {}).get("chosen", [])]
    if score == "previous_token":
        first = prompt.get("prefix_length", 0) + 1
        return [(query, query - 1) for query in range(first, len(prompt["tokens"]))]
    offset = OFFSETS[score]
    return [(query, s + offset) for query, s in copies(prompt, occurrence, offset)]


def close(mine, known, what):
    np.testing.assert_allclose(mine, known, rtol=0, atol=WITHIN, equal_nan=True, err_msg=what)


RUNS = (("layers", "latest"), ("heads", "all"), ("first", "first"))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("experiment, occurrence", RUNS)
def test_scores_and_lags(results, patterns, prompts, model, experiment, occurrence):
    with h5py.File(results) as file:
        group = file[f"runs/{experiment}/{model}/score_patterns"]
        assert list(group["lag"][()]) == LAGS
        assert [x.decode() for x in group["lag_range"][()]] == ["up to 4", "above 4"]
        for p, (prompt, pattern) in enumerate(zip(prompts, patterns[model], strict=True)):
            for score in SCORES:
                known = mean_score(pattern, pairs_of(prompt, score, occurrence), score)
                close(group[score][p], known, f"{score} of prompt {p}")
            for score, offset in OFFSETS.items():
                found = copies(prompt, occurrence, offset)
                classes = [{lag} for lag in LAGS] + [range(1, SPLIT + 1), range(SPLIT + 1, 99)]
                mine = np.concatenate(
                    [group[f"by_lag/{score}"][p], group[f"by_lag_range/{score}"][p]], axis=-1
                )
                for i, lags in enumerate(classes):
                    kept = [(q, s + offset) for q, s in found if q - s in lags]
                    close(mine[:, :, i], mean_score(pattern, kept), f"{score} {p} lags {lags}")


@pytest.mark.parametrize("model", MODELS)
def test_positions(results, patterns, prompts, model):
    with h5py.File(results) as file:
        for experiment, occurrence in RUNS[:2]:
            group = file[f"runs/{experiment}/{model}/score_patterns/by_position"]
            for p, (prompt, pattern) in enumerate(zip(prompts, patterns[model], strict=True)):
                for score in SCORES:
                    pairs = pairs_of(prompt, score, occurrence)
                    for position in range(group[score].shape[-1]):
                        here = [x for x in pairs if x[0] == position]
                        known = mean_score(pattern, here, score)
                        if experiment == "layers":
                            known = known.mean(axis=1)
                        close(group[score][p, ..., position], known, f"{score} {p} at {position}")


def check_null_sources(prompt, copies_of, sources, offset):
    """The rules of a null source, and how many copies have one in every draw."""
    tokens, prefix = prompt["tokens"], prompt.get("prefix_length", 0)
    for draw in sources:
        for (query, source), null in zip(copies_of, draw, strict=True):
            if null < 0:
                continue
            key = null + offset
            assert min(null, key) >= prefix and max(null, key) < query
            assert tokens[null] != tokens[query]
            assert tokens[key] != tokens[source + offset]
            assert query + 1 == len(tokens) or tokens[key] != tokens[query + 1]
    return [i for i in range(len(copies_of)) if (sources[:, i] >= 0).all()]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("experiment, occurrence", RUNS[:2])
@pytest.mark.parametrize("score", list(OFFSETS))
def test_null_sources(results, patterns, prompts, model, experiment, occurrence, score):
    offset = OFFSETS[score]
    counted = 0
    with h5py.File(results) as file:
        group = file[f"runs/{experiment}/{model}/score_patterns/null/{score}"]
        assert [x.decode() for x in group.parent.parent["origin"][()]] == [
            "shuffled", "drawn", "shifted", "none",
        ]  # fmt: skip
        for p, (prompt, pattern) in enumerate(zip(prompts, patterns[model], strict=True)):
            found = copies(prompt, occurrence, offset)
            n = len(found)
            assert list(zip(group["query"][p, :n], group["source"][p, :n], strict=True)) == found
            assert (group["query"][p, n:] == -1).all()
            sources = group["null_source"][p][:, :n]
            kept = check_null_sources(prompt, found, sources, offset)
            counted += len(kept)
            assert list(group["counts"][p, :n]) == [int(i in kept) for i in range(n)]
            assert group["origin"][p].sum() == n * DRAWS
            assert group["origin"][p, 3] == (sources < 0).sum()
            matched = mean_score(pattern, [(found[i][0], found[i][1] + offset) for i in kept])
            close(group["score"][p], matched, f"matched {p}")
            nulls = np.array(
                [
                    mean_score(pattern, [(found[i][0], draw[i] + offset) for i in kept])
                    for draw in sources
                ]
            )
            close(group["heads"][p], nulls, f"heads {p}")
            close(group["null_score"][p], nulls.mean(axis=0), f"mean {p}")
            close(group["profile"][p], nulls.mean(axis=2), f"profile {p}")
    assert counted >= 10


def test_null_sources_are_the_same_for_every_model_and_launch(results, tmp_path):
    with h5py.File(results) as file:
        tables = [
            file[f"runs/layers/{model}/score_patterns/null/induction/null_source"][()]
            for model in MODELS
        ]
    assert (tables[0] == tables[1]).all() and (tables[0] == tables[2]).all()
    assert len({tuple(draw.ravel()) for draw in tables[0].transpose(1, 0, 2)}) > DRAWS / 2


def test_diagonals_have_every_query(patterns, prompts, tmp_path):
    lines = (GOLDEN / "prompts" / "score_patterns.jsonl").read_text().splitlines()
    one_lag = [0, 2, 4, 5]
    (tmp_path / "p.jsonl").write_text("\n".join(lines[i] for i in one_lag) + "\n")
    scores = {"id": "s", "kind": "attention_scores", "queries": "diagonal", "lags": [2],
              "scores": ["previous_token", *OFFSETS]}  # fmt: skip
    entry = {"id": "p", "kind": "file", "path": str(tmp_path / "p.jsonl")}
    config = write_config(tmp_path / "c.yaml", [model_entry("gpt2-random")], [entry], [scores])
    must("run", config, "--out", tmp_path / "r.h5")
    with h5py.File(tmp_path / "r.h5") as file:
        group = file["runs/s/gpt2-random/p"]
        for place, p in enumerate(one_lag):
            pattern = patterns["gpt2-random"][p]
            lag = {0: 5, 2: 2, 4: 1, 5: 7}[p]
            whole = [
                [
                    np.array([np.pad(row, (0, len(head) - len(row))) for row in head])
                    for head in layer
                ]
                for layer in pattern
            ]
            for score, offset in {"previous_token": lag - 1, **OFFSETS}.items():
                below = lag - offset
                known = [
                    [np.nan if below < 1 else np.diagonal(head, -below).mean() for head in layer]
                    for layer in whole
                ]
                close(group[score][place], known, f"{score} {p}")
                if score in OFFSETS:
                    by_lag = group[f"by_lag/{score}"][place, :, :, 0]
                    close(by_lag, known if lag == 2 else np.full_like(by_lag, np.nan), f"lag {p}")


def test_what_does_not_go_together_is_refused(tmp_path):
    def refusal(scores, prompts="score_patterns"):
        config = write_config(
            tmp_path / "c.yaml",
            [model_entry("gpt2-random")],
            [prompt_file(prompts)],
            [{"id": "s", "kind": "attention_scores"} | scores],
        )
        outcome = run("plan", config)
        assert outcome.status in (2, 3), outcome.out
        return outcome.err

    copying = {"scores": ["induction"]}
    assert "copies with lags" in refusal(copying | {"queries": "diagonal"})
    assert "needs a score of copies" in refusal({"scores": ["previous_token"], "lags": [1]})
    assert "goes with `null_sources` only" in refusal(copying | {"top_fraction": 0.5})
    both = copying | {"queries": "diagonal", "null_sources": NULL}
    assert "goes with `queries: content` only" in refusal(both)
    assert "must be a whole number from 2" in refusal(copying | {"null_sources": {"draws": 1}})
    assert "names a lag twice" in refusal(copying | {"lags": [2, 2]})


def test_export_has_lags_positions_and_null_scores(results):
    rows = export_rows(results, "--run", "layers/gpt2-random/score_patterns")
    names = {row["metric"] for row in rows}
    for score in OFFSETS:
        assert {f"{score}_by_lag", f"{score}_by_lag_range", f"{score}_by_position"} <= names
        assert {f"{score}_matched", f"{score}_null", f"{score}_excess"} <= names
    by_lag = [row for row in rows if row["metric"] == "induction_by_lag"]
    assert {row["lag"] for row in by_lag} == {"2", "5", "7"}
    assert not any("/" in name for name in names)
