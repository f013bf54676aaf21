"""How a sweep is spread over ranks, threads and memory must not change a single bit of it."""

import itertools
import json

import h5py
import pytest
from system_program import (
    GOLDEN,
    digest,
    model_entry,
    must,
    prompt_file,
    write_config,
)

SITES = (
    "resid_pre", "q", "k", "v", "pattern", "z", "attn_out", "resid_mid", "mlp_in", "mlp_norm",
    "mlp_hidden", "mlp_out", "resid_post",
)  # fmt: skip
DIRECTIONS = ("clean_to_corrupt", "corrupt_to_clean")
POSITIONS = ("each", "all", "targets", "swapped", [0, -1])
HEADS = ("all", ["L1H2", "L0H0"], {"sets": {"pair": ["L0H1", "L1H2"], "one": ["L1H0"]}})
PROMPTS = {"llama-random": "random_llama", "gpt2-random": "random_gpt2"}


def experiments(prompts: str) -> list[dict]:
    """Every site in both directions, every kind of positions and of heads, every occurrence."""
    positions = itertools.cycle(POSITIONS)
    all_of_them = [
        {
            "id": f"{site}.{direction}",
            "kind": "activation_patching",
            "prompts": [prompts],
            "site": site,
            "direction": direction,
            "positions": next(positions),
        }
        for site, direction in itertools.product(SITES, DIRECTIONS)
    ]
    heads = itertools.cycle(HEADS)
    all_of_them += [
        {
            "id": f"heads{i}",
            "kind": "head_ablation",
            "prompts": [prompts],
            "operation": "zero",
            "positions": where,
            "heads": next(heads),
        }
        for i, where in enumerate(POSITIONS)
    ]
    all_of_them += [
        {
            "id": f"scores.{occurrence}",
            "kind": "attention_scores",
            "scores": ["previous_token", "duplicate_token", "induction", "anti_induction"],
            "occurrence": occurrence,
        }
        for occurrence in ("latest", "first", "all")
    ]
    all_of_them.append(
        {"id": "copy", "kind": "attention_scores", "prompts": [prompts], "scores": ["copy"]}
    )
    return all_of_them


def config_for(folder, model: str, execution: dict):
    prompts = PROMPTS[model]
    generated = {"id": "rep", "kind": "repeated_random", "count": 4, "period": 5, "repeats": 2}
    return write_config(
        folder / "in" / "sweep.yaml",
        [model_entry(model)],
        [prompt_file(prompts), generated | {"prefix": 0}],
        experiments(prompts),
        execution=execution,
    )


VARIANTS = {
    "one rank": (1, {"threads_per_rank": 1}),
    "two ranks": (2, {"threads_per_rank": 1}),
    "four ranks": (4, {"threads_per_rank": 1}),
    "three threads": (None, {"threads_per_rank": 3}),
    "little memory": (None, {"threads_per_rank": 1, "memory_gib": 0.01}),
    "much memory, two ranks of two threads": (2, {"threads_per_rank": 2, "memory_gib": 8}),
    "whole forward passes": (None, {"executor": "naive", "threads_per_rank": 1}),
    "whole forward passes, four ranks": (4, {"executor": "naive", "threads_per_rank": 1}),
}


@pytest.mark.parametrize("model", PROMPTS)
def test_digest_and_export_do_not_depend_on_how_it_was_run(folder, model):
    alone = folder / "out" / "alone.h5"
    must("run", config_for(folder, model, {"threads_per_rank": 1}), "--out", alone)
    expected = digest(alone)
    text = must("export", alone).out
    assert text.count("\n") > 1000
    for number, (name, (ranks, execution)) in enumerate(VARIANTS.items()):
        other = folder / "out" / f"other{number}.h5"
        must("run", config_for(folder, model, execution), "--out", other, ranks=ranks)
        assert digest(other) == expected, name
        assert must("export", other).out == text, name


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("model", ["llama-random-sharded", "gpt2-random"])
def test_listed_interventions_have_the_same_bits_on_both_executors(folder, model, dtype):
    """Every site and operation, edges and frozen runs, by either executor on 1 to 4 ranks."""
    edits = GOLDEN / "edits" / f"{model}.interventions.jsonl"

    def config(name, execution):
        return write_config(
            folder / "in" / f"{name}.yaml",
            [model_entry(model) | {"dtype": dtype}],
            [prompt_file("edits_ragged")],
            [{"id": "edits", "kind": "interventions", "file": str(edits), "top_k": 3,
              "readouts": ["answer_rank", "kl"]}],
            execution=execution,
        )  # fmt: skip

    digests = {}
    for executor, ranks in (("naive", None), ("wavefront", None), ("wavefront", 2), ("naive", 3),
                            ("wavefront", 4)):  # fmt: skip
        results = folder / "out" / f"{executor}{ranks}.h5"
        must(
            "run",
            config(executor, {"executor": executor, "threads_per_rank": 1}),
            "--out",
            results,
            ranks=ranks,
        )
        digests[executor, ranks] = digest(results)
    assert len(set(digests.values())) == 1, digests


def test_an_attempt_says_whether_its_machine_is_exact(folder):
    config = config_for(folder, "llama-random", {"threads_per_rank": 2})
    results = folder / "out" / "r.h5"
    must("run", config, "--out", results, ranks=2)
    with h5py.File(results) as file:
        record = json.loads(file["attempts"][0].tobytes().split(b"\0")[0])
    verdict = record["selftest"]["float32"]
    assert verdict["bit_exact"] is True
    assert verdict["interventions_compared"] >= 20
    assert "tolerance_nats" not in verdict


def test_summary_does_not_depend_on_the_ranks(folder):
    config = config_for(folder, "llama-random", {"threads_per_rank": 1})
    results = folder / "out" / "r.h5"
    must("run", config, "--out", results)
    texts = []
    for ranks in (None, 2, 4):
        for summary in (folder / "out").glob("r.summary.*"):
            summary.unlink()
        must("reduce", results, ranks=ranks)
        texts.append(
            (
                digest(folder / "out" / "r.summary.h5"),
                (folder / "out" / "r.summary.csv").read_text(),
                (folder / "out" / "r.summary.json").read_text(),
            )
        )
    assert texts[0] == texts[1] == texts[2]
    assert texts[0][1].count("\n") > 100


def test_another_seed_gives_another_digest(folder):
    """Or the tests above would pass on a constant."""
    prompts = [{"id": "rep", "kind": "repeated_random", "count": 4, "period": 5, "repeats": 2}]
    prompts[0]["prefix"] = 0
    scores = [{"id": "s", "kind": "attention_scores", "scores": ["induction"]}]
    digests = set()
    for seed in (1, 2):
        config = write_config(
            folder / "in" / f"{seed}.yaml",
            [model_entry("llama-random")],
            prompts,
            scores,
            seed=seed,
        )
        must("run", config, "--out", folder / "out" / f"{seed}.h5")
        digests.add(digest(folder / "out" / f"{seed}.h5"))
    assert len(digests) == 2
