"""What edits of activations do, from scratch: a plain forward pass in double precision.

    python reference_edits.py MODEL PROMPTS.jsonl INTERVENTIONS.jsonl [--base corrupt]

MODEL is a Hugging Face folder of a Llama or a GPT-2; PROMPTS a prompt file with token ids;
INTERVENTIONS a file of `kind: interventions`. It prints one JSON line per intervention and prompt.

Only the weights come from transformers. One prompt at a time runs through ordinary matrix products,
and every site is computed, edited and remembered in the order in which a layer has them, as
[position, head, width] (one "head" where the site has none; the pattern as [query, head, key]).
Nothing is cached, skipped or batched.
"""

import argparse
import json
import math
from dataclasses import dataclass
from pathlib import Path

import edits_file
import reference_sweep as sweep
import torch
from transformers import AutoModelForCausalLM


def double_weights(model):
    return {name: tensor.detach().double() for name, tensor in model.state_dict().items()}


class PlainLlama:
    """The formulas of a Llama: RMS norm, rotary positions in halves, grouped keys and values, a
    gated MLP. Every function takes and gives [position, width] unless it says otherwise."""

    def __init__(self, model):
        config = model.config
        self.weights = double_weights(model)
        self.layers = config.num_hidden_layers
        self.query_heads = config.num_attention_heads
        self.key_heads = config.num_key_value_heads
        self.head_size = getattr(config, "head_dim", None) or (
            config.hidden_size // config.num_attention_heads
        )
        self.epsilon = config.rms_norm_eps
        self.rotary_base = float(config.rope_parameters["rope_theta"])

    def _linear(self, x, name):
        y = x @ self.weights[name + ".weight"].T
        bias = self.weights.get(name + ".bias")
        return y if bias is None else y + bias

    def _norm(self, x, name):
        size = torch.sqrt((x * x).mean(-1, keepdim=True) + self.epsilon)
        return x / size * self.weights[name + ".weight"]

    def embed(self, tokens):
        return self.weights["model.embed_tokens.weight"][tokens]

    def query_key_value(self, layer, x):
        """Normalises, projects and splits into heads: three [position, head, head size]."""
        x = self._norm(x, f"model.layers.{layer}.input_layernorm")
        parts = [self._linear(x, f"model.layers.{layer}.self_attn.{p}_proj") for p in "qkv"]
        return [part.reshape(len(x), -1, self.head_size) for part in parts]

    def rotate(self, x):
        """Rotary positions: numbers i and i + half of a head turn as a pair. Keeps the shape."""
        half = self.head_size // 2
        turned = torch.empty_like(x)
        for position in range(x.shape[0]):
            for i in range(half):
                angle = position * self.rotary_base ** (-i / half)
                first, second = x[position, :, i], x[position, :, i + half]
                turned[position, :, i] = first * math.cos(angle) - second * math.sin(angle)
                turned[position, :, i + half] = second * math.cos(angle) + first * math.sin(angle)
        return turned

    def value_bias(self, layer, head):
        """b_V of the key/value head that a query head uses."""
        bias = self.weights.get(f"model.layers.{layer}.self_attn.v_proj.bias")
        if bias is None:
            return torch.zeros(self.head_size, dtype=torch.float64)
        return bias.reshape(self.key_heads, -1)[head * self.key_heads // self.query_heads]

    def attention_output(self, layer, z):
        return self._linear(z, f"model.layers.{layer}.self_attn.o_proj")

    def mlp_norm(self, layer, x):
        return self._norm(x, f"model.layers.{layer}.post_attention_layernorm")

    def mlp_hidden(self, layer, x):
        gate = self._linear(x, f"model.layers.{layer}.mlp.gate_proj")
        up = self._linear(x, f"model.layers.{layer}.mlp.up_proj")
        return gate / (1 + torch.exp(-gate)) * up

    def mlp_output(self, layer, x):
        return self._linear(x, f"model.layers.{layer}.mlp.down_proj")

    def unembed(self, x):
        return self._norm(x, "model.norm") @ self.weights["lm_head.weight"].T


class PlainGpt2:
    """The same functions for a GPT-2: layer norm, learned positions, a plain MLP, biases."""

    def __init__(self, model):
        config = model.config
        self.weights = double_weights(model)
        self.layers = config.n_layer
        self.query_heads = self.key_heads = config.n_head
        self.head_size = config.n_embd // config.n_head
        self.epsilon = config.layer_norm_epsilon

    def _linear(self, x, name):
        return x @ self.weights[name + ".weight"] + self.weights[name + ".bias"]

    def _norm(self, x, name):
        x = x - x.mean(-1, keepdim=True)
        x = x / torch.sqrt((x * x).mean(-1, keepdim=True) + self.epsilon)
        return x * self.weights[name + ".weight"] + self.weights[name + ".bias"]

    def embed(self, tokens):
        positions = self.weights["transformer.wpe.weight"][: len(tokens)]
        return self.weights["transformer.wte.weight"][tokens] + positions

    def query_key_value(self, layer, x):
        x = self._norm(x, f"transformer.h.{layer}.ln_1")
        joined = self._linear(x, f"transformer.h.{layer}.attn.c_attn")
        return [part.reshape(len(x), -1, self.head_size) for part in joined.chunk(3, -1)]

    def rotate(self, x):
        return x

    def value_bias(self, layer, head):
        bias = self.weights[f"transformer.h.{layer}.attn.c_attn.bias"].chunk(3)[2]
        return bias.reshape(self.query_heads, -1)[head]

    def attention_output(self, layer, z):
        return self._linear(z, f"transformer.h.{layer}.attn.c_proj")

    def mlp_norm(self, layer, x):
        return self._norm(x, f"transformer.h.{layer}.ln_2")

    def mlp_hidden(self, layer, x):
        x = self._linear(x, f"transformer.h.{layer}.mlp.c_fc")
        return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))

    def mlp_output(self, layer, x):
        return self._linear(x, f"transformer.h.{layer}.mlp.c_proj")

    def unembed(self, x):
        return self._norm(x, "transformer.ln_f") @ self.weights["lm_head.weight"].T


def load(path):
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    return {"llama": PlainLlama, "gpt2": PlainGpt2}[model.config.model_type](model)


# ------------------------------------------------------------------------------------- edits


@dataclass
class Run:
    """A finished pass: `sites` holds {(layer, site): [position, head, width]} after the edits,
    `logits` [position, token]."""

    sites: dict
    logits: torch.Tensor


def changed(model, edit, x, position, head, runs):
    """The vector that an edit puts at x[position, head]; `runs` gives unedited runs."""
    old = x[position, head]
    if edit.operation == "zero":
        return torch.zeros_like(old)
    if edit.operation == "value_bias":
        return model.value_bias(edit.layer, head)
    if edit.operation == "mean":
        return _mean(edit, len(x) - 1 - position, head, runs)
    if edit.operation == "replace":
        if edit.vector is not None:
            return edit.vector
        return runs(edit.donor).sites[edit.layer, edit.site][position, head]
    d = edit.vector
    if edit.operation == "add":
        return old + edit.scale * d
    if edit.operation == "remove":
        return old - (old @ d) * d
    if edit.operation == "transplant":
        donor = runs(edit.donor).sites[edit.layer, edit.site][position, head]
        return old + (donor @ d - old @ d) * d
    raise ValueError(f"no operation {edit.operation!r}")


def _mean(edit, from_end, head, runs):
    found = []
    for prompt in edit.sources:
        there = runs((prompt, runs.base)).sites[edit.layer, edit.site]
        if from_end < len(there):
            found.append(there[len(there) - 1 - from_end, head])
    if not found:
        raise ValueError(f"no other prompt has a token {from_end} places before its last")
    return sum(found) / len(found)


def attend(model, layer, q, k, v, edit_pattern, edges, runs):
    """z [position, head, head size] of edited q, k, v. Every (query, key) pair has vectors of its
    own, so that an attention edge can change one pair and no other."""
    length, group = len(q), model.query_heads // model.key_heads
    shape = (length, model.query_heads, length, model.head_size)
    heads = [head // group for head in range(model.query_heads)]
    pair_q = model.rotate(q)[:, :, None].expand(shape).clone()
    pair_k = model.rotate(k)[:, heads].transpose(0, 1)[None].expand(shape[0], *shape[1:])
    pair_k = pair_k.clone()
    pair_v = v[:, heads].transpose(0, 1)[None].expand(shape).clone()
    allowed = torch.ones(length, length).tril().bool()[:, None].repeat(1, model.query_heads, 1)
    for edit in edges:
        donor = None
        if edit.operation == "replace":
            donor = runs(edit.donor).sites[layer, edit.site]
            donor = donor if edit.site == "v" else model.rotate(donor)
        for head in edit.heads:
            for query, key in edit.edges:
                if edit.operation == "cut":
                    allowed[query, head, key] = False
                elif edit.site == "q":
                    pair_q[query, head, key] = 0 if donor is None else donor[query, head]
                elif edit.site == "k":
                    pair_k[query, head, key] = 0 if donor is None else donor[key, heads[head]]
                else:
                    pair_v[query, head, key] = 0 if donor is None else donor[key, heads[head]]
    scores = (pair_q * pair_k).sum(-1) / math.sqrt(model.head_size)
    scores = torch.where(allowed, scores, -math.inf)
    # A row whose keys are all cut is 0 / 0 here: it attends to nothing.
    pattern = torch.nan_to_num(torch.softmax(scores, -1), nan=0.0)
    return (edit_pattern(pattern)[..., None] * pair_v).sum(2)


def run(model, tokens, edits=(), runs=None, frozen=None):
    """A whole pass. With `frozen`, the unedited Run of the same tokens, attention and MLP of every
    layer read that run's residual stream (downstream: freeze)."""
    sites = {}

    def at(site, layer, x):
        x = x.clone()
        for edit in edits:
            if (edit.site, edit.layer) == (site, layer) and edit.edges is None:
                for position in edit.positions:
                    for head in edit.heads:
                        x[position, head] = changed(model, edit, x, position, head, runs)
        sites[layer, site] = x
        return x

    def flat(x):
        return x.reshape(len(tokens), -1)

    stream = model.embed(tokens)[:, None]
    for layer in range(model.layers):
        stream = at("resid_pre", layer, stream)
        read = stream if frozen is None else frozen.sites[layer, "resid_pre"]
        projected = model.query_key_value(layer, flat(read))
        q, k, v = (at(s, layer, x) for s, x in zip("qkv", projected, strict=True))
        edges = [edit for edit in edits if edit.layer == layer and edit.edges is not None]
        z = attend(model, layer, q, k, v, lambda p, la=layer: at("pattern", la, p), edges, runs)
        z = at("z", layer, z)
        attn_out = at("attn_out", layer, model.attention_output(layer, flat(z))[:, None])
        stream = at("resid_mid", layer, stream + attn_out)
        read = stream if frozen is None else frozen.sites[layer, "resid_mid"]
        read = at("mlp_in", layer, read)
        normed = at("mlp_norm", layer, model.mlp_norm(layer, flat(read))[:, None])
        hidden = at("mlp_hidden", layer, model.mlp_hidden(layer, flat(normed))[:, None])
        mlp_out = at("mlp_out", layer, model.mlp_output(layer, flat(hidden))[:, None])
        stream = at("resid_post", layer, stream + mlp_out)
    return Run(sites, model.unembed(flat(stream)))


# ----------------------------------------------------------------------------------- results


class Runs:
    """Unedited runs of a prompt set, made when first asked for; called with (prompt, side)."""

    def __init__(self, model, prompts, base):
        self.model, self.prompts, self.base = model, prompts, base
        self._kept = {}

    def __call__(self, donor):
        if donor not in self._kept:
            self._kept[donor] = run(self.model, side_of(self.prompts[donor[0]], donor[1]))
        return self._kept[donor]


def side_of(prompt, side):
    return prompt.tokens if side == "clean" else prompt.corrupt


def apply_line(model, file, line, prompt, runs):
    """The edited Run of one line of an InterventionFile on one prompt."""
    shape = edits_file.Shape(model.layers, model.query_heads, model.key_heads)
    edits = file.edits(line, prompt, runs.prompts, shape, runs.base)
    base = runs((prompt.index, runs.base))
    frozen = base if line.get("downstream") == "freeze" else None
    return run(model, side_of(prompt, runs.base), edits, runs, frozen)


def readout(prompt, logits, base_logits):
    """One dictionary per target from logits [position, token] of an edited run and of its base."""
    found = []
    for target in prompt.targets:
        row, other = logits[target.at], base_logits[target.at]
        after, before = row - row.logsumexp(0), other - other.logsumexp(0)
        values = {
            "loss": float(-after[target.answer]),
            "logsumexp": float(row.logsumexp(0)),
            "vocab_mean": float(row.mean()),
            "kl": float((before.exp() * (before - after)).sum()),
            "top1": int(row.argmax()),
            "answer_rank": int((row > row[target.answer]).sum()),
            "logits": [float(row[token]) for token in target.tracked()],
        }
        found.append(values)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="a Hugging Face folder")
    parser.add_argument("prompts", type=Path, help="a prompt file with token ids")
    parser.add_argument("interventions", type=Path, help="a file of kind: interventions")
    parser.add_argument("--base", choices=["clean", "corrupt"], default="clean")
    arguments = parser.parse_args()
    model = load(arguments.model)
    prompts = sweep.read_prompts(arguments.prompts)
    file = edits_file.InterventionFile(arguments.interventions)
    runs = Runs(model, prompts, arguments.base)
    for line in file.lines:
        for prompt in prompts:
            edited = apply_line(model, file, line, prompt, runs)
            base = runs((prompt.index, arguments.base))
            targets = readout(prompt, edited.logits, base.logits)
            print(json.dumps({"id": line["id"], "prompt": prompt.index, "targets": targets}))


if __name__ == "__main__":
    main()
