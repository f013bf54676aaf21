"""Goldens of every architecture: logits, losses, zeroed heads and sites, patterns, site values.

    python golden_architectures.py [NAME ...]

Runs transformers on the checkpoints of architecture_configs.py and writes one file each into
architectures/, and architectures/list.json with what each one exercises. README.md has the layout.
"""

import sys

import torch
from architecture_configs import CHECKPOINTS
from architecture_sites import SITES, SiteModel
from golden_files import HERE, made_by, rounded, write_json, write_lines
from golden_results import SHORT, base_block, leaves, read_prompts, targets_of
from reference_tasks import read_targets

PROMPTS = "architectures.jsonl"
LENGTHS = (4, 9, 14, 20, 31)
IDS = 61  # the smallest vocabulary
PATTERN_PROMPT, ROW_PROMPT, SITE_PROMPT = 1, 4, 3
FULL_LOGITS = ((1, -1), (4, -1))
PLACES = [1, -1]  # the positions, together, at which every site is zeroed
DTYPES = ("float32", "float64", "bfloat16", "float16")


def origin():
    script = {"script": "tests/golden/golden_architectures.py"}
    return made_by("torch", "transformers", "numpy") | script


def decimals(value, places=9):
    """Small differences need no more digits than the losses that they come from."""
    if isinstance(value, (list, tuple)):
        return [decimals(one, places) for one in value]
    return round(value, places)


def make_prompts():
    generator = torch.Generator().manual_seed(5)
    entries = []
    for order, length in enumerate(LENGTHS):
        tokens = torch.randint(2, IDS, (length,), generator=generator).tolist()
        answers = torch.randperm(IDS - 2, generator=generator)[:6].add(2).tolist()
        targets = [{"at": -1, "answer": answers[0], "wrong": answers[1:3]}]
        if order in (2, 4):
            targets.append({"at": length // 2, "answer": answers[3], "wrong": [answers[4]]})
        entries.append({"tokens": tokens, "targets": targets})
    write_lines(PROMPTS, entries)


def losses(model, prompts, zeros_of):
    """The loss of every target with the edits that zeros_of(prompt) gives."""
    found = []
    for prompt in prompts:
        logits, _ = model.run(prompt.tokens, zeros_of(prompt))
        (targets,) = read_targets(model, [prompt], logits[None])
        found += [row["loss"] for row in targets]
    return found


def head_deltas(model, prompts, selection):
    base = losses(model, prompts, lambda _: [])

    def delta(layer, head):
        edited = losses(
            model, prompts, lambda prompt: [(layer, "z", head, prompt.positions(selection))]
        )
        return [after - before for after, before in zip(edited, base, strict=True)]

    shape = model.shape
    return [[delta(layer, head) for head in range(shape.heads)] for layer in range(shape.layers)]


def zeroed(model, prompts):
    """{site: [layer][head][target]}; z is left to head_deltas."""
    shape = model.shape
    heads = {"q": range(shape.heads), "k": range(shape.kv_heads), "v": range(shape.kv_heads)}

    def one(site, layer, head):
        return losses(model, prompts, lambda _: [(layer, site, head, PLACES)])

    return {
        site: [
            [one(site, layer, head) for head in heads.get(site, [None])]
            for layer in range(shape.layers)
        ]
        for site in model.sites()
        if site != "z"
    }


def patterns(model, tokens):
    """[layer][head][query][key], rows only as long as the query's past."""
    layers = range(model.shape.layers)
    _, found = model.run(tokens, read=[(layer, "pattern") for layer in layers])
    return [
        [[row[: at + 1].tolist() for at, row in enumerate(head)] for head in found[la, "pattern"]]
        for la in layers
    ]


def site_values(model, tokens, layer, position):
    wanted = [(layer, site) for site in model.sites()]
    _, found = model.run(tokens, read=wanted)
    return {site: found[layer, site][position].flatten().tolist() for site in model.sites()}


def check_sums(model, tokens):
    """What the sites' definitions promise of each other, in double precision: the stream is the sum
    of what is added to it, and z the mean of the values under the pattern."""
    layers = range(model.shape.layers)
    wanted = [(layer, site) for layer in layers for site in (*model.sites(), "pattern")]
    _, found = model.run(tokens, read=wanted)
    group = model.shape.heads // model.shape.kv_heads
    for layer in layers:
        at = {site: found[layer, site] for site in (*model.sites(), "pattern")}
        mid = at["resid_pre"] + at["attn_out"]
        if "resid_mid" in at:
            assert torch.allclose(mid, at["resid_mid"], rtol=0, atol=1e-12)
            assert torch.equal(at["mlp_in"], at["resid_mid"])
        else:
            assert torch.equal(at["mlp_in"], at["resid_pre"])
        assert torch.allclose(mid + at["mlp_out"], at["resid_post"], rtol=0, atol=1e-12)
        if layer > 0:
            assert torch.equal(at["resid_pre"], found[layer - 1, "resid_post"])
        values = at["v"].repeat_interleave(group, dim=1)
        z = torch.einsum("hqk,khe->qhe", at["pattern"], values)
        assert torch.allclose(z, at["z"], rtol=0, atol=1e-12)


def apart(one, other):
    return max(abs(a - b) for a, b in zip(leaves(one), leaves(other), strict=True))


def _measured(values, other):
    """The largest difference of each block from the double-precision one."""
    exact = values["float64"]
    return {name: rounded(apart(values[other][name], exact[name]), 3) for name in values[other]}


def collect(model, prompts):
    """All numbers of one precision; the narrow ones only serve to show how far they lie off."""
    values = {
        "logits": [model.run(prompts[p].tokens)[0][at].double().tolist() for p, at in FULL_LOGITS],
        "loss": losses(model, prompts, lambda _: []),
        "delta_loss": {name: head_deltas(model, prompts, name) for name in ("all", "targets")},
    }
    if model.dtype not in SHORT:
        return values
    layer = model.shape.layers - 1
    rows = patterns(model, prompts[ROW_PROMPT].tokens)
    sites = site_values(model, prompts[SITE_PROMPT].tokens, layer, -1)
    return {
        **values,
        "zeroed": zeroed(model, prompts),
        "patterns": patterns(model, prompts[PATTERN_PROMPT].tokens),
        "last_rows": [[head[-1] for head in heads] for heads in rows],
        "sites": sites,
    }


def make_one(name):
    path = HERE / "checkpoints" / name
    prompts = read_prompts(PROMPTS)
    models = {dtype: SiteModel(path, dtype) for dtype in DTYPES}
    model = models["float64"]
    for prompt in prompts:
        check_sums(model, prompt.tokens)
    base, base_apart = base_block({d: models[d] for d in ("float32", "float64")}, prompts)
    values = {dtype: collect(models[dtype], prompts) for dtype in DTYPES}
    exact, shape = values["float64"], model.shape
    tops = [
        {"prompt": p, "at": len(prompts[p].tokens) + at}
        | {SHORT[d]: rounded(values[d]["logits"][order], 9) for d in ("float64", "float32")}
        for order, (p, at) in enumerate(FULL_LOGITS)
    ]
    content = {
        "made_by": origin(),
        "model": f"checkpoints/{name}",
        "architecture": CHECKPOINTS[name].kind,
        "exercises": CHECKPOINTS[name].exercises,
        "prompts": f"prompts/{PROMPTS}",
        "shape": vars(shape),
        "sites_missing": [site for site in SITES if site not in model.sites()],
        "largest_fp32_minus_fp64": {"base": base_apart, **_measured(values, "float32")},
        "largest_bf16_minus_fp64": _measured(values, "bfloat16"),
        "largest_fp16_minus_fp64": _measured(values, "float16"),
        "targets": targets_of(prompts),
        "base": base,
        "full_logits": tops,
        "heads": {name: decimals(found) for name, found in exact["delta_loss"].items()},
        "zeroed": {name: decimals(found, 7) for name, found in exact["zeroed"].items()},
        "patterns": {"prompt": PATTERN_PROMPT, "fp64": decimals(exact["patterns"], 7)},
        "last_rows": {"prompt": ROW_PROMPT, "fp64": decimals(exact["last_rows"], 7)},
        "sites": {
            "prompt": SITE_PROMPT,
            "layer": shape.layers - 1,
            "position": len(prompts[SITE_PROMPT].tokens) - 1,
            "fp64": rounded(exact["sites"], 8),
        },
    }
    print(name, content["largest_fp32_minus_fp64"])
    write_json(f"architectures/{name}.json", content)


def main():
    torch.set_num_threads(1)
    make_prompts()
    for name in CHECKPOINTS:
        if len(sys.argv) == 1 or name in sys.argv[1:]:
            make_one(name)
    listed = [
        {"name": name, "architecture": one.kind, "exercises": one.exercises}
        for name, one in CHECKPOINTS.items()
    ]
    content = {"made_by": origin(), "checkpoints": listed}
    write_json("architectures/list.json", content)


if __name__ == "__main__":
    main()
