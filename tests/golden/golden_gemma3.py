"""Goldens of Gemma 3 270M from its GGUF file: base runs, scores, zeroed heads, in fp64 and fp32.

    python golden_gemma3.py gemma-3-270m-q4_k_m.gguf [PART ...]

(on a busy machine OMP_WAIT_POLICY=passive saves most of the time)

Parts, in this order: prompts, base, scores, head_ablation. Without any, all of them. One prompt is
longer than the window of 512 positions that five layers of six have. Transformers runs it as it
is, with eager attention; its fp64 is that of double_precision.py.
"""

import argparse
import copy
import csv
from contextlib import nullcontext
from functools import cache
from pathlib import Path

import numpy as np
import torch
from architecture_sites import SiteModel
from double_precision import double_precision, rebuild_constants
from gemma3_prompts import PROMPTS, REPEATS, WINDOW, make_prompts
from golden_files import HERE, made_by, rounded, write_json
from golden_results import DTYPES, base_block, read_prompts, targets_of
from reference_scores import scores_of_pattern
from reference_tasks import base, read_targets

LONG = 3  # the prompt of more tokens than the window
# Where the long prompt loses heads, because each takes seconds; 5, 11 and 17 are global.
LAYERS_OF_LONG = (0, 5, 8, 11, 14, 17)
FULL_LOGITS = ((0, -1), (LONG, -1))
STRIDE = 262  # of the vocabulary's 262,144 logits, every so many are kept
SCORES = ("previous_token", "duplicate_token/latest", "induction/latest")


class Gemma(SiteModel):
    """The model in one precision. Logits are computed for the rows that are read, not for all."""

    def __init__(self, path, dtype):
        super().__init__(path, dtype)
        assert self.config.final_logit_softcapping is None
        assert self.config.sliding_window == WINDOW

    @torch.no_grad()
    def states(self, **inputs):
        """Final states [row, position, width] of token ids or of what enters the first layer."""
        with double_precision() if self.dtype == "float64" else nullcontext():
            rebuild_constants(self.model)
            return self.model.model(use_cache=False, **inputs).last_hidden_state

    # What reference_tasks.base and read_targets ask of a reference.

    def final_states(self, tokens, edits=(), capture=()):
        assert not edits and not capture
        return self.states(input_ids=torch.tensor(tokens)), {}

    @torch.no_grad()
    def logits(self, states):
        return self.model.lm_head(states)


@cache
def open_model(path, dtype):
    """Reading the file takes long: once, for both precisions."""
    if dtype == "float32":
        return Gemma(path, dtype)
    model = copy.deepcopy(open_model(path, "float32"))
    model.model.double()
    model.dtype = dtype
    return model


class Unchanged(torch.nn.Module):
    """In the place of a layer whose work is already in the states that come in."""

    def forward(self, states, **_):
        return states


def script(*packages):
    return made_by(*packages) | {"script": "tests/golden/golden_gemma3.py"}


def full_logits(models, prompts):
    """Every STRIDE-th logit of some places, and how far all of them are apart."""
    entries = []
    for index, at in FULL_LOGITS:
        rows = {}
        for dtype, model in models.items():
            states, _ = model.final_states([prompts[index].tokens])
            rows[dtype] = model.logits(states[0, at]).double().numpy()
        exact = rows["float64"]
        apart = float(np.abs(rows["float32"] - exact).max())
        entries.append(
            {
                "prompt": index,
                "at": len(prompts[index].tokens) + at,
                "stride": STRIDE,
                "largest_magnitude": rounded(np.abs(exact).max(), 11),
                "argmax": int(exact.argmax()),
                "largest_fp32_minus_fp64_of_all": rounded(apart, 3),
                "fp64": rounded(exact[::STRIDE], 11),
            }
        )
        print("full logits apart", apart, "largest", np.abs(exact).max(), flush=True)
    return entries


def make_base(path):
    prompts = read_prompts(PROMPTS)
    models = {dtype: open_model(path, dtype) for dtype in DTYPES}
    block, apart = base_block(models, prompts)
    content = {
        "made_by": script("torch", "transformers", "gguf"),
        "gguf": path.name,
        "note": "lists run over all targets of all prompts in file order; logits are the tracked "
        "ones; full_logits has every stride-th token from 0 on",
        "prompts": f"prompts/{PROMPTS}",
        "largest_fp32_minus_fp64": apart,
        "targets": targets_of(prompts),
        "base": block,
        "full_logits": full_logits(models, prompts),
    }
    print(apart, block["fp64"]["loss"], block["answer_rank"])
    write_json("gemma3_base.json", content, 3)


def beyond_window(pattern):
    """What queries with keys outside the window give to those; [layer, head]."""
    queries = range(WINDOW, pattern.shape[-1])
    total = sum(pattern[:, :, q, : q - WINDOW + 1].sum(-1) for q in queries)
    return (total / len(queries)).numpy()


def scores_of(model, prompts):
    """{score: [prompt][layer][head]}, None where a prompt has no query that counts."""
    found = {name.removesuffix("/latest"): [] for name in SCORES} | {"beyond_window": []}
    for prompt in prompts:
        wanted = [(layer, "pattern") for layer in range(model.shape.layers)]
        _, patterns = model.run(prompt.tokens, read=wanted, at=[0])
        pattern = torch.stack([patterns[key] for key in wanted]).double()
        scores = scores_of_pattern(pattern, prompt, 0)
        for name in SCORES:
            found[name.removesuffix("/latest")].append(scores[name])
        is_long = len(prompt.tokens) > WINDOW
        found["beyond_window"].append(beyond_window(pattern) if is_long else None)
        print(model.dtype, "scores of", prompt.name, flush=True)
    return found


def make_scores(path):
    prompts = read_prompts(REPEATS)
    found = {dtype: scores_of(open_model(path, dtype), prompts) for dtype in DTYPES}
    apart = {}
    for name, exact in found["float64"].items():
        pairs = zip(exact, found["float32"][name], strict=True)
        apart[name] = rounded(max(np.abs(a - b).max() for a, b in pairs if a is not None), 3)
    content = {
        "made_by": script("torch", "transformers", "gguf"),
        "gguf": path.name,
        "prompts": f"prompts/{REPEATS}",
        "note": "[prompt][layer][head] in fp64, without a prefix: every query that has a key "
        "counts. beyond_window: what queries from 512 on give to keys 512 or more positions back",
        "window": WINDOW,
        "largest_fp32_minus_fp64": apart,
        "fp64": {
            name: [None if one is None else rounded(one, 9) for one in values]
            for name, values in found["float64"].items()
        },
    }
    print(apart)
    write_json("gemma3_scores.json", content, 3)


def zero_rows(model, layer, edits):
    """Row i of a batch loses the z of one head of a layer at some positions: edits[i]."""
    size = model.shape.head_size

    def clear(_, arguments):
        z = arguments[0].clone()
        for row, (head, positions) in enumerate(edits):
            z[row, positions, head * size : (head + 1) * size] = 0.0
        return (z, *arguments[1:])

    return model.places[layer]["z"].module.register_forward_pre_hook(clear)


def ablate_layer(model, prompt, layer, before):
    """Losses with heads of a layer at zero, from the states that enter that layer: the layers
    below compute the same in every run. {(selection, head): [target]}"""
    heads = range(model.shape.heads)
    keys = [(selection, head) for selection in ("all", "targets") for head in heads]
    layers = model.model.model.layers
    model.model.model.layers = torch.nn.ModuleList(
        [Unchanged() if i < layer else one for i, one in enumerate(layers)]
    )
    handle = zero_rows(model, layer, [(h, prompt.positions(name)) for name, h in keys])
    try:
        states = model.states(inputs_embeds=before[None].expand(len(keys), -1, -1))
    finally:
        handle.remove()
        model.model.model.layers = layers
    found = read_targets(model, [prompt] * len(keys), states)
    return {key: [t["loss"] for t in targets] for key, targets in zip(keys, found, strict=True)}


def ablate(model, prompts):
    """{(selection, layer, head, prompt): [target] loss}"""
    found = {}
    for prompt in prompts:
        wanted = [(layer, "resid_pre") for layer in range(model.shape.layers)]
        _, entering = model.run(prompt.tokens, read=wanted, at=[0])
        for layer, site in wanted:
            if prompt.index == LONG and layer not in LAYERS_OF_LONG:
                continue
            before = entering[layer, site].flatten(1)
            losses = ablate_layer(model, prompt, layer, before)
            for (name, head), values in losses.items():
                found[name, layer, head, prompt.index] = values
        print(model.dtype, "heads of", prompt.name, flush=True)
    return found


def check_whole_pass(model, prompt, found):
    """What was computed from the edited layer on, against a pass through all layers."""
    layer, head = model.shape.layers // 2, 1
    for name in ("all", "targets"):
        zeros = [(layer, "z", head, prompt.positions(name))]
        logits, _ = model.run(prompt.tokens, zeros)
        picked = logits[[target.at for target in prompt.targets]].double()
        answers = [target.answer for target in prompt.targets]
        losses = torch.logsumexp(picked, -1) - picked[range(len(answers)), answers]
        apart = np.abs(losses.numpy() - found[name, layer, head, prompt.index]).max()
        assert apart < (1e-10 if model.dtype == "float64" else 5e-5), apart


def make_head_ablation(path):
    prompts = read_prompts(PROMPTS)
    deltas = {}
    for dtype in reversed(DTYPES):
        model = open_model(path, dtype)
        bases = base(model, prompts)
        found = ablate(model, prompts)
        check_whole_pass(model, prompts[0], found)
        deltas[dtype] = {
            (*key, target): loss - bases[key[-1]][target]["loss"]
            for key, losses in found.items()
            for target, loss in enumerate(losses)
        }
    exact, single = deltas["float64"], deltas["float32"]
    table = HERE / "gemma3_head_ablation.csv"
    with open(table, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        columns = ["positions", "layer", "head", "prompt", "target"]
        writer.writerow([*columns, "delta_loss", "delta_loss_fp64"])
        for key in sorted(exact, key=lambda key: (key[3], key)):
            writer.writerow([*key, f"{single[key]:.8f}", f"{exact[key]:.10f}"])
    apart = np.sort([abs(single[key] - exact[key]) for key in exact])
    content = {
        "made_by": script("torch", "transformers", "gguf"),
        "file": table.name,
        "gguf": path.name,
        "prompts": f"prompts/{PROMPTS}",
        "note": "one head's z at zero; target is that one's place in the prompt's list",
        "effects": len(exact),
        "layers_of_the_long_prompt": LAYERS_OF_LONG,
        "largest_delta_loss": rounded(max(map(abs, exact.values())), 6),
        "fp32_minus_fp64": {
            "largest": rounded(apart[-1], 3),
            "median": rounded(apart[len(apart) // 2], 3),
        },
    }
    print(content, table.stat().st_size)
    write_json("gemma3_head_ablation.json", content)


PARTS = {
    "prompts": make_prompts,
    "base": make_base,
    "scores": make_scores,
    "head_ablation": make_head_ablation,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("gguf", type=Path)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    unknown = set(arguments.parts) - set(PARTS)
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    torch.set_num_threads(arguments.threads)
    for part in arguments.parts or PARTS:
        PARTS[part](arguments.gguf)


if __name__ == "__main__":
    main()
