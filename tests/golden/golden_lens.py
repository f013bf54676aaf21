"""Goldens of the logit lens and of direct logit attribution: residuals and components read through
transformers' own final norm and unembedding, in double precision.

    python golden_lens.py                              # the random checkpoints
    python golden_lens.py SmolLM2-135M-Instruct.Q4_1.gguf

The attribution knows nothing of gains and scales. A norm whose scale is held fixed multiplies every
component by the same factor in a dimension, and that factor is what the module gave for the row of
the run over what it got (distances from the mean, and without the bias, where the norm has one).
README.md has the layout.
"""

import sys
from pathlib import Path

import torch
from architecture_sites import SITES, SiteModel
from double_precision import double_precision
from golden_files import made_by, rounded, write_json
from golden_results import read_prompts, targets_of

CHECKPOINTS = (
    *("gpt2-random", "gpt-neox-parallel", "gpt-neox-serial", "llama-random", "opt-relu"),
    *("gemma2-caps", "gemma3-pattern", "gemma3-layer-types", "olmo2-norms"),
)
FINAL_NORMS = {
    "gpt2": "transformer.ln_f",
    "gpt_neox": "gpt_neox.final_layer_norm",
    "opt": "model.decoder.final_layer_norm",
}
SMOLLM2_PROMPTS = 3
LENS_SITES = ("resid_pre", "resid_mid", "resid_post")
KEPT_TOP = 3


def origin():
    return made_by("torch", "transformers", "numpy") | {"script": "tests/golden/golden_lens.py"}


class Readout:
    """The final norm and the unembedding of a model."""

    def __init__(self, model):
        self.norm = model.model.get_submodule(
            FINAL_NORMS.get(model.config.model_type, "model.norm")
        )
        self.head = model.model.get_output_embeddings()
        self.cap = getattr(model.config, "final_logit_softcapping", None)
        self.norm_bias = getattr(self.norm, "bias", None)
        self.head_bias = getattr(self.head, "bias", None)

    def logits(self, row):
        logits = self.head(self.norm(row))
        return self.cap * torch.tanh(logits / self.cap) if self.cap else logits

    def frozen(self, row):
        """The final norm at `row` as a function of components [n, width], without its bias."""
        return frozen_norm(self.norm, row)

    def project(self, normalised, tokens):
        return normalised @ self.head.weight[tokens].T


def frozen_norm(module, row):
    centred = isinstance(module, torch.nn.LayerNorm)

    def spread(x):
        return x - x.mean(-1, keepdim=True) if centred else x

    out = module(row)
    if getattr(module, "bias", None) is not None:
        out = out - module.bias
    factor = out / spread(row)
    return lambda components: factor * spread(components)


def numbers(logits, target, final):
    """What a lens says about one target; `final` are the logits at the end of the run."""
    log_p, log_q = final.log_softmax(-1), logits.log_softmax(-1)
    top = torch.sort(logits, descending=True, stable=True)
    return {
        "loss": float(-log_q[target.answer]),
        "logits": logits[target.tracked()].tolist(),
        "kl": float((log_p.exp() * (log_p - log_q)).sum()),
        "answer_rank": int((logits > logits[target.answer]).sum()),
        "top": top.indices[:KEPT_TOP].tolist(),
        # Places whose order rounding could change are not compared.
        "gap": float((top.values[:KEPT_TOP] - top.values[1 : KEPT_TOP + 1]).min()),
    }


def lens(model, readout, prompts, sites):
    """{site: [layer][target] -> numbers}, and of the first target's row at the first position."""
    found = {site: [[] for _ in range(model.shape.layers)] for site in sites}
    first = {site: [[] for _ in range(model.shape.layers)] for site in sites}
    wanted = [(layer, site) for layer in range(model.shape.layers) for site in sites]
    for prompt in prompts:
        logits, kept = model.run(prompt.tokens, read=wanted)
        for target in prompt.targets:
            for layer, site in wanted:
                row = kept[layer, site][target.at, 0]
                found[site][layer].append(numbers(readout.logits(row), target, logits[target.at]))
                row = kept[layer, site][0, 0]
                first[site][layer].append(
                    numbers(readout.logits(row), target, logits[target.at])["loss"]
                )
    return found, first


def head_rows(model, layer, kept, at):
    """What each head adds to the residual at a position, and what the biases add."""
    places, shape = model.places[layer], model.shape
    z = kept[layer, "z"][at]
    module = places["z"].module
    bias = module(torch.zeros_like(z).reshape(1, -1))[0]
    rows = []
    for head in range(shape.heads):
        alone = torch.zeros_like(z)
        alone[head] = z[head]
        rows.append(module(alone.reshape(1, -1))[0] - bias)
    rows = torch.stack([*rows, bias])
    added = kept[layer, "attn_out"][at, 0]
    # A norm after attention, where there is one, with the scale of the whole.
    return rows * (added / rows.sum(0)) if not torch.allclose(rows.sum(0), added) else rows


def attribute(model, readout, prompt, target):
    """The parts of one target's logits before the cap, [..., tracked]."""
    layers = range(model.shape.layers)
    wanted = [(layer, site) for layer in layers for site in ("z", "attn_out", "mlp_out")]
    wanted += [(0, "resid_pre"), (len(layers) - 1, "resid_post")]
    _, kept = model.run(prompt.tokens, read=wanted)
    tokens, at = target.tracked(), target.at
    final = kept[len(layers) - 1, "resid_post"][at, 0]
    freeze = readout.frozen(final)

    def project(rows):
        return readout.project(freeze(rows), tokens)

    embedded = model.model.get_input_embeddings()(torch.tensor([prompt.tokens[at]]))[0]
    heads = torch.stack([project(head_rows(model, layer, kept, at)) for layer in layers])
    mlps = torch.stack([project(kept[layer, "mlp_out"][at, 0]) for layer in layers])
    zero = torch.zeros(len(tokens))
    parts = {
        "token_embedding": project(embedded),
        "position_embedding": project(kept[0, "resid_pre"][at, 0] - embedded),
        "heads": heads[:, :-1],
        "attention_bias": heads[:, -1],
        "mlps": mlps,
        "final_norm_bias": (
            zero if readout.norm_bias is None else readout.project(readout.norm_bias, tokens)
        ),
        "unembedding_bias": zero if readout.head_bias is None else readout.head_bias[tokens],
    }
    uncapped = readout.head(readout.norm(final))[tokens]
    total = sum(part.reshape(-1, len(tokens)).sum(0) for part in parts.values())
    assert torch.allclose(total, uncapped, rtol=0, atol=1e-9), (total, uncapped)
    return {name: part.tolist() for name, part in parts.items()} | {"uncapped": uncapped.tolist()}


@torch.no_grad()
def make(name, path, prompts_name, count=None, wanted=LENS_SITES, digits=9):
    prompts = read_prompts(prompts_name)[:count]
    model = SiteModel(path, "float64")
    sites = [site for site in SITES if site in model.sites() and site in wanted]
    with double_precision():
        readout = Readout(model)
        found, first = lens(model, readout, prompts, sites)
        parts = [
            attribute(model, readout, prompt, target)
            for prompt in prompts
            for target in prompt.targets
        ]
    content = {
        "made_by": origin(),
        "model": Path(path).name if Path(path).suffix == ".gguf" else f"checkpoints/{name}",
        "prompts": f"prompts/{prompts_name}",
        "count": len(prompts),
        "note": "fp64; lens[site][layer][target], first_position: the losses of position 0's row "
        "for the same answers; direct[target][part], heads [layer][head][tracked]",
        "targets": targets_of(prompts),
        "lens": rounded(found, digits),
        "first_position": rounded(first, digits),
        "direct": rounded(parts, digits),
    }
    write_json(f"lens/{name}.json", content, 4)


def main(files):
    for file in files:
        make("smollm2", file, "smollm2_mixed.jsonl", SMOLLM2_PROMPTS, LENS_SITES[:2], digits=7)
    if not files:
        for name in CHECKPOINTS:
            make(name, Path(__file__).parent / "checkpoints" / name, "architectures.jsonl")


if __name__ == "__main__":
    main(sys.argv[1:])
