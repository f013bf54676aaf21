"""Writes edges/: what `kind: attention_edges` and neurons of `kind: component_ablation` give, by
reference_edges.py.

    python make_edge_goldens.py [SmolLM2-135M-Instruct.Q4_1.gguf]

Every case is a config as a user writes it; its numbers are [prompt][places of the grid x target].
"""

import argparse
import itertools
import json
import random
from pathlib import Path

import torch
from golden_files import DIGITS, HERE, made_by, rounded, write_json, write_lines
from reference_edges import Ablation, EdgeEdit, EdgeModel, content_pairs

CHECKPOINTS = ("gpt2-random", "gpt-neox-serial", "gpt-neox-parallel", "llama-random")
VECTORS = {
    "q": ("q",),
    "k": ("k",),
    "v": ("v",),
    "query_and_key": ("q", "k"),
    "query_and_value": ("q", "v"),
    "key_and_value": ("k", "v"),
    "all": ("q", "k", "v"),
}
CLOSE = 1e-4  # logits this close may change places in fp32
AMPLIFIED = 2.5e-5  # nats; docs/decisions/0008-what-rounding-allows.md
NOTE = (
    "loss_fp64 and top1 are by prompt, then flat over the axes of the grid (row-major) and the "
    "target; top1 is -1 where another logit lies within 1e-4 of the largest. amplified, where "
    "given, lists [prompt, number in the list] of losses of which transformers' own fp32 is more "
    "than 2.5e-5 nats away."
)
BUILT_IN = ["induction", "anti_induction", "duplicate_token", "previous_token"]


def repeats(seed, count, length, middle, vocabulary, examples=0):
    """Prompts of distinct tokens, a middle token and the same again, after as many examples; the
    corrupt partner has other tokens in its content."""
    draw = random.Random(seed)
    prompts = []
    for number in range(count):
        pool = draw.sample(
            [t for t in range(3, vocabulary) if t != middle], 2 * (examples + 1) * length
        )
        sides = []
        for side in (pool[: len(pool) // 2], pool[len(pool) // 2 :]):
            tokens = [0]
            for part in range(examples + 1):
                own = side[part * length : (part + 1) * length]
                tokens += [*own, middle, *own]
            sides.append(tokens)
        second = len(sides[0]) - length
        prompts.append(
            {
                "id": f"r{number}",
                "prefix_length": 1,
                "tokens": sides[0],
                "corrupt_tokens": sides[1],
                "targets": [
                    {"at": at - 1, "answer": sides[0][at]} for at in range(second, len(sides[0]))
                ],
                "pairs": {"far": [[second, 1], [second, 2], [len(sides[0]) - 1, 0]]},
            }
        )
    # Three copies of a token, so that occurrences differ.
    prompts[0]["tokens"][1] = prompts[0]["tokens"][3]
    return prompts


def edges(pairs, operation, heads, **more):
    return {"kind": "attention_edges"} | {
        "config": {"pairs": pairs, "operation": operation, "heads": heads} | more
    }


def small_cases(neurons):
    joint, single = "all_together", "all"
    return [
        edges([*BUILT_IN, "far"], "zero", joint, edit=list(VECTORS)),
        edges("induction", "zero", single, edit=["k", "v", "key_and_value"]),
        edges(["induction", "far"], "cut", single),
        edges(["duplicate_token", "previous_token"], "cut", joint, layers=1),
        edges("duplicate_token", "cut", joint, occurrence="all"),
        edges("duplicate_token", "zero", joint, edit="v", occurrence="first"),
        edges(["induction", "far"], "replace", joint, edit=list(VECTORS), donor="corrupt"),
        edges("previous_token", "replace", single, edit=["q", "k", "v"], donor="corrupt"),
        edges("induction", "zero", ["L1H1", "L0H0"], edit="key_and_value"),
        edges("far", "zero", {"sets": {"two": ["L1H1", "L0H0"]}}, edit="all"),
        *neurons,
    ]


def neuron_cases(names, sets):
    both = {"operation": "zero", "positions": "all"}
    return [
        {"kind": "component_ablation", "config": both | {"neurons": names}},
        {"kind": "component_ablation", "config": both | {"neurons": {"sets": sets}}},
    ]


def large_cases():
    joint = "all_together"
    movers = {"sets": {"movers": ["L18H6", "L17H3", "L17H4", "L17H5"]}}
    pairs = ["induction", "duplicate_token", "far"]
    parts = {"operation": "zero", "positions": "all", "layers": [0, 15, 29]}
    return [
        edges(pairs, "zero", joint, edit=["k", "v", "key_and_value"]),
        edges(pairs, "cut", joint),
        edges("induction", "zero", movers, edit=["k", "v"]),
        edges("induction", "replace", movers, edit=["k", "v"], donor="corrupt"),
        {"kind": "component_ablation", "config": parts | {"components": ["attn_out", "mlp_out"]}},
        *neuron_cases(["L3N17", "L29N1535"], {"some": ["L3N17", "L3N400", "L10N2"]}),
    ]


def listed(value):
    return value if isinstance(value, list) else [value]


def head_places(config, shape):
    """By place of the first axes: (layer, heads) of a joint edit."""
    layers = listed(config.get("layers", list(range(shape.layers))))
    heads = config["heads"]
    if heads == "all_together":
        return [[(layer, list(range(shape.heads))) for layer in layers]]
    if heads == "all":
        return [[(layer, [head])] for layer in layers for head in range(shape.heads)]
    groups = [[one] for one in heads] if isinstance(heads, list) else heads["sets"].values()
    named = [[one[1:].split("H") for one in group] for group in groups]
    return [[(int(layer), [int(head)]) for layer, head in group] for group in named]


def edge_places(config, prompt, shape, donor):
    """The edits of every place of the grid, in its order."""
    vectors = [()] if config["operation"] == "cut" else [VECTORS[e] for e in listed(config["edit"])]
    donor = donor if config["operation"] == "replace" else None
    occurrence = config.get("occurrence", "latest")
    for heads, name, which in itertools.product(
        head_places(config, shape), listed(config["pairs"]), vectors
    ):
        pairs = content_pairs(prompt, name, occurrence)
        yield [EdgeEdit(layer, some, pairs, which, donor) for layer, some in heads], []


def ablation_places(config, prompt, shape):
    everywhere = list(range(len(prompt["tokens"])))
    if "components" in config:
        for layer, site in itertools.product(config["layers"], config["components"]):
            yield [], [Ablation(layer, site, everywhere)]
        return
    neurons = config["neurons"]
    groups = [[one] for one in neurons] if isinstance(neurons, list) else neurons["sets"].values()
    for group in groups:
        named = [one[1:].split("N") for one in group]
        yield [], [Ablation(int(la), "mlp_hidden", everywhere, [int(n)]) for la, n in named]


def numbers(prompt, logits):
    losses, top = [], []
    for target in prompt["targets"]:
        row = logits[target["at"]]
        losses.append(float(row.logsumexp(0) - row[target["answer"]]))
        best = row.topk(2)
        clear = float(best.values[0] - best.values[1]) > CLOSE
        top.append(int(best.indices[0]) if clear else -1)
    return losses, top


def run_case(model, case, prompts):
    config = case["config"]
    losses, tops = [], []
    for prompt in prompts:
        donor = model.run(prompt["corrupt_tokens"])[1]
        if case["kind"] == "attention_edges":
            places = edge_places(config, prompt, model.shape, donor)
        else:
            places = ablation_places(config, prompt, model.shape)
        found = [numbers(prompt, model.run(prompt["tokens"], *place)[0]) for place in places]
        losses.append([loss for one in found for loss in one[0]])
        tops.append([top for one in found for top in one[1]])
    return case | {"loss_fp64": rounded(losses, DIGITS["float64"]), "top1": tops}


def mark_amplified(case, single, prompts):
    """Says which losses of a case rounding alone moves."""
    other = run_case(single, {"kind": case["kind"], "config": case["config"]}, prompts)
    case["amplified"] = [
        [p, i]
        for p, row in enumerate(case["loss_fp64"])
        for i, loss in enumerate(row)
        if abs(loss - other["loss_fp64"][p][i]) > AMPLIFIED
    ]
    print("  rounding moves", len(case["amplified"]), "of", sum(map(len, case["loss_fp64"])))


def write_model(name, path, model_name, prompt_file, cases, with_single=False):
    prompts = [json.loads(line) for line in (HERE / "prompts" / prompt_file).open()]
    model = EdgeModel(path)
    for prompt in prompts:  # our attention function is transformers' own without edits
        apart = model.run(prompt["tokens"])[0] - model.sites.run(prompt["tokens"])[0]
        assert float(apart.abs().max()) < 1e-9, (name, float(apart.abs().max()))
    base = [numbers(prompt, model.run(prompt["tokens"])[0]) for prompt in prompts]
    done = [run_case(model, case, prompts) for case in cases]
    for case in done:
        moved = [
            abs(loss - base[p][0][i % len(base[p][0])])
            for p, row in enumerate(case["loss_fp64"])
            for i, loss in enumerate(row)
        ]
        print(name, case["kind"], case["config"], "largest effect", max(moved), flush=True)
    if with_single:
        single = EdgeModel(path, "float32")
        for case in done:
            mark_amplified(case, single, prompts)
    packages = ("torch", "transformers", "safetensors", "gguf", "numpy")
    content = {
        "made_by": made_by(*packages) | {"script": "tests/golden/make_edge_goldens.py"},
        "note": NOTE,
        "model": model_name,
        "prompts": f"prompts/{prompt_file}",
        "base_loss_fp64": rounded([losses for losses, _ in base], DIGITS["float64"]),
        "cases": done,
    }
    write_json(f"edges/{name}.json", content, 3)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("gguf", nargs="?", type=Path, help="SmolLM2-135M as GGUF")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    write_lines("edges_random.jsonl", repeats(1, 2, 5, 2, 61))
    write_lines("edges_smollm2.jsonl", repeats(2, 2, 5, 198, 40_000, examples=1))
    cases = small_cases(neuron_cases(["L1N3", "L0N11"], {"some": ["L0N0", "L0N7", "L1N3"]}))
    for name in CHECKPOINTS:
        path = HERE / "checkpoints" / name
        write_model(name, path, f"checkpoints/{name}", "edges_random.jsonl", cases)
    if arguments.gguf:
        file, prompts = arguments.gguf, "edges_smollm2.jsonl"
        write_model("smollm2", file, file.name, prompts, large_cases(), with_single=True)


if __name__ == "__main__":
    main()
