"""Reads the interventions of a JSON Lines file (`kind: interventions`) and settles, prompt by
prompt, what their names stand for: layers counted from the end, spans, pairs, donors, the prompts
of a mean. It computes nothing: both references (reference_edits.py and edits_by_hooks.py) start
from the Edit objects made here.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file

# In the order in which a layer computes them.
SITES = (
    "resid_pre",
    "q",
    "k",
    "v",
    "pattern",
    "z",
    "attn_out",
    "resid_mid",
    "mlp_in",
    "mlp_norm",
    "mlp_hidden",
    "mlp_out",
    "resid_post",
)
QUERY_HEADS = ("q", "pattern", "z")
KEY_HEADS = ("k", "v")


@dataclass
class Edit:
    """One change, for one prompt. Heads are [0] where the site has none; either positions or
    edges (query, key) are given. donor is (prompt index, side); sources lists the prompts of a
    mean, all of the base side."""

    site: str
    layer: int
    operation: str
    heads: list
    positions: list = field(default_factory=list)
    edges: list = None
    vector: torch.Tensor = None
    scale: float = 1.0
    donor: tuple = None
    sources: list = field(default_factory=list)


@dataclass
class Shape:
    """What a file can be about: `layers`, query heads and key/value heads of a model."""

    layers: int
    query_heads: int
    key_heads: int


class InterventionFile:
    """The lines of a file as they stand, with the ids that they get."""

    def __init__(self, path):
        self.folder = Path(path).parent
        self.lines = []
        with open(path, encoding="utf-8") as file:
            for number, text in enumerate(file, 1):
                if text.strip():
                    line = json.loads(text)
                    line.setdefault("id", str(number))
                    self.lines.append(line)

    def edits(self, line, prompt, prompts, shape, base):
        """The edits of one line for one of the prompts of a run on the given base side."""
        return [self._edit(entry, prompt, prompts, shape, base) for entry in line["edits"]]

    def _edit(self, entry, prompt, prompts, shape, base):
        site, operation = entry["site"], entry["operation"]
        assert site in SITES, site
        edit = Edit(site, range(shape.layers)[entry["layer"]], operation, [0])
        edges = "edges" in entry
        if site in QUERY_HEADS or edges:
            edit.heads = _heads(entry["heads"], shape.query_heads)
        elif site in KEY_HEADS:
            edit.heads = _heads(entry["heads"], shape.key_heads)
        else:
            assert "heads" not in entry, entry
        if edges:
            edit.edges = _edges(entry["edges"], prompt)
        else:
            edit.positions = prompt.positions(entry["positions"])
        if "donor" in entry:
            edit.donor = _donor(entry["donor"], prompt, prompts)
        given = entry.get("direction", entry.get("value"))
        if given is not None:
            edit.vector = self._vector(given)
            if operation in ("remove", "transplant"):
                edit.vector = edit.vector / edit.vector.norm()
        edit.scale = entry.get("scale", 1.0)
        if operation == "mean":
            everyone = entry.get("per", "template") == "all"
            edit.sources = [
                other.index
                for other in prompts
                if other is not prompt and (everyone or other.template == prompt.template)
            ]
        return edit

    def _vector(self, given):
        if isinstance(given, dict):
            return load_file(self.folder / given["file"])[given["tensor"]].double().flatten()
        return torch.tensor(given, dtype=torch.float32).double()


def _heads(given, count):
    return list(range(count)) if given == "all" else list(given)


def _edges(given, prompt):
    length = len(prompt.tokens)
    pairs = prompt.pairs[given] if isinstance(given, str) else given
    found = [(range(length)[query], range(length)[key]) for query, key in pairs]
    assert all(key <= query for query, key in found), given
    return found


def _donor(given, prompt, prompts):
    if isinstance(given, str):
        return prompt.index, given
    named = given["prompt"]
    chosen = [p for p in prompts if named in (p.index, p.name)]
    assert len(chosen) == 1 and len(chosen[0].tokens) == len(prompt.tokens), given
    return chosen[0].index, given["side"]
