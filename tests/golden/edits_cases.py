"""The interventions of the edit goldens (their prompts: edits_prompts.py).

Everything is drawn with fixed seeds. Vectors are multiples of 1/8, exact in every precision.
"""

import random
from itertools import cycle

from edits_file import KEY_HEADS, QUERY_HEADS, SITES


class Cases:
    """Builds lines for one checkpoint: `sizes` has layers, query_heads, key_heads, head_size,
    hidden and mlp; `vectors` collects those that go to a file instead of into the line."""

    def __init__(self, name, sizes):
        self.name, self.sizes = name, sizes
        self.vectors = {}
        self._layers = cycle([0, *range(sizes.layers - 1, 0, -1)])
        self._everywhere = cycle(["all", [0, -1], "targets", "end", [-2, -1, 2]])
        self._before = cycle(["subject", "all", [1, -3], [0, 1, 2, -2]])
        self._some = cycle([0, 1, 2])

    def vector(self, site, key, in_file=False):
        """A value or direction as wide as one head, or as the site."""
        width = self.sizes.hidden
        if site in QUERY_HEADS or site in KEY_HEADS:
            width = self.sizes.head_size
        elif site == "mlp_hidden":
            width = self.sizes.mlp
        rng = random.Random(f"{site} {key}")
        numbers = [rng.randrange(-16, 17) / 8 for _ in range(width)]
        if not in_file:
            return numbers
        name = f"{self.name}.{site}.{key}"
        self.vectors[name] = numbers
        return {"file": "vectors.safetensors", "tensor": name}

    def heads(self, site, edges=False):
        """all, the last, or the first and another; {} where the site has none."""
        query = edges or site in QUERY_HEADS
        if not query and site not in KEY_HEADS:
            return {}
        count = self.sizes.query_heads if query else self.sizes.key_heads
        return {"heads": ["all", [count - 1], [0, count // 2]][next(self._some)]}

    def edit(self, site, operation, layer=None, positions=None, heads=None, **more):
        """One edit; what is not given is varied, and reaches a target."""
        layer = next(self._layers) if layer is None else layer
        last = layer in (-1, self.sizes.layers - 1) and site not in KEY_HEADS
        if positions is None:
            positions = next(self._everywhere if last else self._before)
        where = {"heads": heads} if heads is not None else self.heads(site)
        return {"site": site, "layer": layer, **where, "positions": positions} | {
            "operation": operation,
            **more,
        }

    def edge(self, site, operation, edges="copy", layer=None, heads="all", **more):
        layer = next(self._layers) if layer is None else layer
        return {"site": site, "layer": layer, "heads": heads, "edges": edges} | {
            "operation": operation,
            **more,
        }

    # --------------------------------------------------------------------------------- sites

    def every_site(self):
        """Every site with every operation that fits it, once."""
        operations = {
            "zero": dict,
            "mean": lambda: {"per": next(per)},
            "replace": lambda: {"donor": "corrupt"},
            "value": dict,
            "add": lambda: {"scale": next(scales)},
            "remove": dict,
            "transplant": lambda: {"donor": "corrupt"},
        }
        per, scales = cycle(["template", "all"]), cycle([2.0, -0.5, 1.25])
        for operation, more in operations.items():
            for site in SITES:
                if site == "pattern" and operation not in ("zero", "replace"):
                    continue
                keys = more()
                if operation == "value":
                    keys["value"] = self.vector(site, "value", site == "mlp_hidden")
                elif operation in ("add", "remove", "transplant"):
                    keys["direction"] = self.vector(site, operation, site == "mlp_hidden")
                if operation == "zero" and site.startswith("resid"):
                    # Not where it would leave nothing: a stream of zeros has no logits to tell.
                    keys = {"layer": max(self.sizes.layers - 2, 0), "positions": [1, -3]}
                if (site, operation) == ("k", "add"):
                    # The same vector on every key moves all scores of a query alike (GPT-2).
                    keys["positions"] = [1, -3]
                name = "replace" if operation == "value" else operation
                yield f"{operation}_{site}", [self.edit(site, name, **keys)]
        yield "value_bias_z", [self.edit("z", "value_bias", positions="all", heads="all")]
        yield "value_bias_one", [self.edit("z", "value_bias", -1, "targets", heads=[1])]

    def edges(self):
        for site in "qkv":
            yield f"edge_zero_{site}", [self.edge(site, "zero")]
            yield f"edge_cut_{site}", [self.edge(site, "cut", [[-1, 1], [-1, -1], [4, 0]])]
            yield f"edge_replace_{site}", [self.edge(site, "replace", donor="corrupt")]
            some = self.edge(site, "zero", [[-1, 0], [3, 3]], -1, [self.sizes.query_heads - 1])
            yield f"edge_one_head_{site}", [some]
        yield "edge_cut_row", [self.edge("k", "cut", "row", 0)]
        yield "edge_cut_first", [self.edge("v", "cut", [[0, 0], [1, 0], [1, 1]], 0, [0, 1])]
        yield (
            "edge_replace_after_edit",
            [
                self.edge("k", "replace", "copy", 0, donor="corrupt"),
                self.edit("k", "add", 0, "all", "all", direction=self.vector("k", "shift")),
            ],
        )
        yield (
            "edges_of_three_sites",
            [
                self.edge("q", "zero", [[-1, 0]], 0),
                self.edge("v", "zero", [[-1, 1], [-2, 0]], 0),
                self.edge("k", "cut", [[-1, 2]], 0),
            ],
        )
        yield (
            "edge_replace_query_and_key",
            [
                self.edge("q", "replace", [[-1, 0], [-3, 1]], -1, donor="corrupt"),
                self.edge("k", "replace", [[-1, 2], [-3, 1]], -1, donor="corrupt"),
            ],
        )
        yield (
            "edge_cut_and_value_of_another",
            [
                self.edge("q", "cut", [[-1, 0], [-1, 1]], -1),
                self.edge("v", "replace", [[-1, 2]], -1, donor="corrupt"),
            ],
        )

    def joint(self):
        d = self.vector
        z_all = {"positions": "all", "heads": "all"}
        yield (
            "add_then_zero_head",
            [
                self.edit("z", "add", 0, "all", [0], direction=d("z", "a")),
                self.edit("z", "zero", 0, **z_all),
            ],
        )
        yield (
            "zero_then_add_head",
            [
                self.edit("z", "zero", 0, **z_all),
                self.edit("z", "add", 0, "all", [0], direction=d("z", "a")),
            ],
        )
        yield (
            "zero_then_restore_later",
            [
                self.edit("z", "zero", 0, **z_all),
                self.edit("z", "replace", -1, donor="clean", **z_all),
            ],
        )
        yield (
            "listed_from_the_top",
            [
                self.edit("resid_post", "add", -1, "targets", direction=d("resid_post", "top")),
                self.edit("mlp_out", "zero", -1, "all"),
                self.edit("z", "zero", -1, "all", [1]),
                self.edit("resid_pre", "replace", 0, "subject", donor="corrupt"),
            ],
        )
        yield (
            "resid_post_and_next_resid_pre",
            [
                self.edit("resid_pre", "remove", 1, "all", direction=d("resid_pre", "axis")),
                self.edit("resid_post", "add", 0, "all", direction=d("resid_post", "push")),
            ],
        )
        yield (
            "resid_mid_and_mlp_in",
            [
                self.edit("mlp_in", "zero", 0, "subject"),
                self.edit("resid_mid", "add", 0, "all", direction=d("resid_mid", "push")),
            ],
        )
        yield (
            "attn_out_and_resid_mid",
            [
                self.edit("attn_out", "zero", -1, [-1, 0]),
                self.edit(
                    "resid_mid",
                    "transplant",
                    -1,
                    "all",
                    donor="corrupt",
                    direction=d("resid_mid", "axis"),
                ),
            ],
        )
        yield (
            "query_key_value",
            [
                self.edit("v", "mean", 0, "subject", [0]),
                self.edit("k", "replace", 0, [1, 2, -3], "all", donor="corrupt"),
                self.edit("q", "replace", 0, "all", [0, 1], value=d("q", "fixed")),
            ],
        )
        yield (
            "mlp_three_sites",
            [
                self.edit("mlp_norm", "replace", -1, [-1], value=d("mlp_norm", "fixed")),
                self.edit("mlp_hidden", "mean", -1, [-2, -1]),
                self.edit("mlp_out", "add", -1, "all", direction=d("mlp_out", "push")),
            ],
        )
        yield (
            "pattern_edge_and_z",
            [
                self.edit("pattern", "replace", 0, [-1], [0, 1], donor="corrupt"),
                self.edge("q", "cut", [[-2, 0], [3, 1]], 0, [0]),
                self.edit("z", "value_bias", 0, "subject", "all"),
            ],
        )
        yield (
            "heads_of_two_layers",
            [
                self.edit("z", "replace", 0, "all", [1], donor="corrupt"),
                self.edit("z", "mean", -1, "end", [0, 2]),
                self.edit("pattern", "zero", -1, "targets", [1]),
            ],
        )

    def frozen(self):
        """Edits with downstream: freeze."""
        d = self.vector
        for site in ("resid_pre", "z", "attn_out", "mlp_in", "mlp_hidden", "resid_mid"):
            layer = 1 if site == "resid_pre" else 0
            edit = self.edit(site, "replace", layer, "all", donor="corrupt")
            yield f"freeze_replace_{site}", [edit]
        # Other tokens' embeddings reach a target through attention only, which is frozen.
        edit = self.edit("resid_pre", "replace", 0, "subject", donor="corrupt")
        yield "freeze_unreached", [edit]
        yield "freeze_zero_z", [self.edit("z", "zero", 0, "all", [1])]
        yield "freeze_pattern", [self.edit("pattern", "zero", 0, [-1], "all")]
        yield "freeze_query", [self.edit("q", "replace", -1, "all", "all", donor="corrupt")]
        yield "freeze_value", [self.edit("v", "remove", -1, "all", [0], direction=d("v", "f"))]
        yield "freeze_edge", [self.edge("k", "cut", [[-1, 0], [-1, 2]], -1)]
        yield "freeze_mlp_norm", [self.edit("mlp_norm", "mean", -1, "targets")]
        yield (
            "freeze_add_resid_post",
            [
                self.edit("resid_post", "add", 0, "targets", direction=d("resid_post", "f")),
                self.edit("mlp_out", "zero", -1, [-1]),
            ],
        )
        yield (
            "freeze_both_layers",
            [
                self.edit("z", "replace", 0, "all", "all", donor="corrupt"),
                self.edit("attn_out", "zero", -1, "targets"),
                self.edit("mlp_in", "replace", -1, "end", donor="corrupt"),
                self.edit("resid_pre", "remove", -1, "all", direction=d("resid_pre", "f")),
            ],
        )

    def sites(self):
        yield from _lines(self.every_site())
        yield from _lines(self.edges())
        yield from _lines(self.joint())
        yield from _lines(self.frozen(), downstream="freeze")
        # Named by its line.
        yield {"edits": [self.edit("z", "zero", -1, "all", [0])], "downstream": "recompute"}

    # ---------------------------------------------------------------------------- other sets

    def donors(self):
        d = self.vector
        first, named = {"prompt": 0, "side": "clean"}, {"prompt": "equal2", "side": "corrupt"}
        for site in ("resid_pre", "q", "k", "v", "pattern", "z", "mlp_hidden", "resid_post"):
            donor = first if site in ("resid_pre", "k", "z") else named
            positions = {"pattern": [-1, -3], "resid_post": "end"}.get(site, "subject")
            layer = -1 if site in ("k", "v", "resid_post") else 0
            yield f"prompt_{site}", [self.edit(site, "replace", layer, positions, donor=donor)]
        for site, donor in zip("qkv", (first, named, first), strict=True):
            yield f"prompt_edge_{site}", [self.edge(site, "replace", "copy", 0, donor=donor)]
        yield (
            "prompt_transplant",
            [self.edit("z", "transplant", -1, "all", [1], donor=first, direction=d("z", "donor"))],
        )
        for per in ("template", "all"):
            yield f"mean_{per}", [self.edit("z", "mean", 0, "all", "all", per=per)]
        yield (
            "two_donors",
            [
                self.edit("v", "replace", 0, "all", [0], donor=named),
                self.edit("mlp_out", "replace", -1, "targets", donor=first),
            ],
        )

    def corrupt(self):
        d = self.vector
        yield "zero_z", [self.edit("z", "zero", 0, "all", [1])]
        yield "clean_z", [self.edit("z", "replace", -1, "all", "all", donor="clean")]
        yield "clean_resid_mid", [self.edit("resid_mid", "replace", 0, "subject", donor="clean")]
        yield "clean_value", [self.edit("v", "replace", 0, "subject", [0], donor="clean")]
        yield (
            "clean_pattern",
            [self.edit("pattern", "replace", -1, "targets", "all", donor="clean")],
        )
        yield "clean_edge", [self.edge("k", "replace", "copy", 0, donor="clean")]
        yield "mean", [self.edit("mlp_out", "mean", 0, "all")]
        yield "mean_all", [self.edit("z", "mean", -1, "end", "all", per="all")]
        axis = d("resid_pre", "corrupt")
        yield (
            "transplant",
            [self.edit("resid_pre", "transplant", -1, "all", donor="clean", direction=axis)],
        )
        yield (
            "restore",
            [
                self.edit("resid_pre", "replace", 0, "subject", donor="clean"),
                self.edit("attn_out", "replace", -1, "all", donor="corrupt"),
            ],
        )

    def corrupt_frozen(self):
        yield "freeze_clean_z", [self.edit("z", "replace", 0, "all", "all", donor="clean")]
        yield "freeze_clean_mlp_in", [self.edit("mlp_in", "replace", -1, "end", donor="clean")]

    def short(self):
        """Edits that fit a prompt of one token."""
        yield "zero_first_last", [self.edit("resid_mid", "zero", 0, [0, -1])]
        yield "zero_span", [self.edit("v", "zero", 0, "start", "all")]
        yield "corrupt_span", [self.edit("resid_pre", "replace", 1, "swapped", donor="corrupt")]
        yield "cut_copy", [self.edge("q", "cut", "copy", 0)]
        yield "cut_only_key", [self.edge("k", "cut", [[0, 0]], 0, [0])]
        yield "value_of_first", [self.edge("v", "zero", [[-1, 0]], -1)]
        yield "zero_key_of_itself", [self.edge("k", "zero", [[-1, -1]], -1)]
        yield "corrupt_edge", [self.edge("v", "replace", "copy", 0, donor="corrupt")]
        yield "corrupt_pattern", [self.edit("pattern", "replace", 0, [-1], "all", donor="corrupt")]
        yield "value_bias", [self.edit("z", "value_bias", 0, "targets", "all")]
        yield "mean_last", [self.edit("mlp_out", "mean", 0, [-1])]

    def short_frozen(self):
        yield "freeze_zero", [self.edit("attn_out", "zero", 0, "all")]

    def lines(self, name):
        """The lines of a set, in order."""
        if name == "sites":
            return list(self.sites())
        frozen = getattr(self, f"{name}_frozen", lambda: ())
        return [*_lines(getattr(self, name)()), *_lines(frozen(), downstream="freeze")]


def _lines(cases, **more):
    for name, edits in cases:
        yield {"id": name, **more, "edits": edits}
