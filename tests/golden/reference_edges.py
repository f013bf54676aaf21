"""What edits of single attention edges and of neurons do: transformers with an attention function
of our own, one prompt at a time, for every architecture of architecture_sites.py.

Queries and keys are taken as transformers hands them to its attention function, rotated already, so
a donor's vector of the same position needs nothing more. Every changed pair is computed by itself.
"""

import sys
from contextlib import nullcontext
from dataclasses import dataclass, field

import torch
from architecture_sites import SiteModel, _register
from double_precision import double_precision, rebuild_constants


@dataclass
class EdgeEdit:
    """`vectors` names which of q, k and v change: to zero, or to those of the donor run `donor`
    (what run() keeps). Without any the pair's score becomes -infinity."""

    layer: int
    heads: list
    pairs: list
    vectors: tuple = ()
    donor: list = None


@dataclass
class Ablation:
    """A component's site, whole or some of its columns, set to zero at these positions."""

    layer: int
    site: str
    positions: list
    columns: list = field(default_factory=list)


def content_pairs(prompt, name, occurrence="latest"):
    """[query, key] pairs of a prompt by the definitions of the attention scores of that name;
    other names are the prompt's own pairs."""
    tokens, first = prompt["tokens"], prompt.get("prefix_length", 0)
    found = []
    shifts = {"duplicate_token": 0, "induction": 1, "anti_induction": -1}
    if name == "previous_token":
        return [[q, q - 1] for q in range(first + 1, len(tokens))]
    if name not in shifts:
        return [list(pair) for pair in prompt["pairs"][name]]
    for q in range(first, len(tokens)):
        earlier = [s for s in range(first, q) if tokens[s] == tokens[q]]
        chosen = {"latest": earlier[-1:], "first": earlier[:1], "all": earlier}[occurrence]
        for key in (s + shifts[name] for s in chosen):
            if first <= key < q:
                found.append([q, key])
    return found


class EdgeModel:
    """A checkpoint whose runs can be edited, in double precision unless `dtype` says otherwise."""

    def __init__(self, path, dtype="float64"):
        self.sites = SiteModel(path, dtype)
        self.model, self.shape = self.sites.model, self.sites.shape
        for layer, attention in enumerate(self.sites.attention):
            attention.edge_layer, attention.edge_model = layer, self
        self._edits, self._kept = [], []

    @torch.no_grad()
    def run(self, tokens, edits=(), ablations=()):
        """Gives logits [position, token] and, by layer, the (q, k, v) that attention got, each
        [query head, position, size]."""
        self._edits, self._kept = list(edits), []
        handles = []
        for one in ablations:

            def clear(view, one=one):
                columns = one.columns or slice(None)
                for position in one.positions:
                    view[position, 0, columns] = 0.0

            handles += _register(self.sites.places[one.layer][one.site], clear)
        modules = {sys.modules[type(one).__module__] for one in self.sites.attention}
        whole = {module: module.eager_attention_forward for module in modules}
        try:
            for module in modules:
                module.eager_attention_forward = _attention
            with double_precision() if self.sites.dtype == "float64" else nullcontext():
                rebuild_constants(self.model)
                logits = self.model(torch.tensor([tokens]), use_cache=False).logits[0]
        finally:
            for module, function in whole.items():
                module.eager_attention_forward = function
            for handle in handles:
                handle.remove()
        return logits, self._kept

    def attend(self, layer, q, k, v, scaling):
        self._kept.append((q, k, v))
        length = q.shape[1]
        later = torch.ones(length, length).triu(1).bool()
        scores = (q @ k.transpose(1, 2) * scaling).masked_fill(later, -torch.inf)
        mine = [edit for edit in self._edits if edit.layer == layer]
        for edit in mine:
            if edit.vectors == ("v",):
                continue
            for head in edit.heads:
                for i, j in edit.pairs:
                    scores[head, i, j] = self._score(
                        edit, layer, q[head, i], k[head, j], head, i, j
                    )
                    scores[head, i, j] *= scaling
        weights = torch.softmax(scores, -1)
        z = weights @ v
        for edit in mine:
            for head in edit.heads if "v" in edit.vectors else []:
                for i, j in edit.pairs:
                    new = edit.donor[layer][2][head, j] if edit.donor else 0.0
                    z[head, i] += weights[head, i, j] * (new - v[head, j])
        return z.transpose(0, 1), weights

    @staticmethod
    def _score(edit, layer, query, key, head, i, j):
        if not edit.vectors:
            return -torch.inf
        if "q" in edit.vectors:
            query = edit.donor[layer][0][head, i] if edit.donor else query * 0
        if "k" in edit.vectors:
            key = edit.donor[layer][1][head, j] if edit.donor else key * 0
        return query @ key


def _attention(module, query, key, value, attention_mask, scaling, **_):
    repeats = query.shape[1] // key.shape[1]
    key, value = (x[0].repeat_interleave(repeats, 0) for x in (key, value))
    z, weights = module.edge_model.attend(module.edge_layer, query[0], key, value, scaling)
    return z[None], weights[None]
