"""The second, independent path to edited runs: transformers in full, hooks on its modules, its
attention function replaced by one that knows attention edges. It shares with reference_edits.py
the Edit objects of edits_file.py, and no arithmetic.

    site         place                                      llama / gpt2
    resid_pre    input of the block
    q, k, v      output of                                  q_proj, k_proj, v_proj / c_attn
    pattern      inside the attention function
    z            input of                                   o_proj / c_proj
    attn_out     output of                                  self_attn / attn
    resid_mid    input of, shared with the residual sum     post_attention_layernorm / ln_2
    mlp_in       input of, a copy                           the same
    mlp_norm     output of                                  the same
    mlp_hidden   input of                                   down_proj / mlp.c_proj
    mlp_out      output of                                  mlp
    resid_post   output of the block

downstream: freeze gives the base run's tensors to the two norms of every block.
"""

import edits_file
import reference_sweep as sweep
import torch
from transformers.models.gpt2 import modeling_gpt2
from transformers.models.llama import modeling_llama


class HookedModel:
    """A transformers model in `dtype` whose runs can be edited. Captured sites are
    [position, width] with heads side by side; the pattern is [head, query, key], and so are
    roped_q, roped_k [head, position, size], as the attention function gets them."""

    def __init__(self, path, dtype):
        self.reference = sweep.Reference(path, dtype)
        self.model = self.reference.model
        config = self.model.config
        self.shape = edits_file.Shape(
            self.reference.layer_count,
            config.num_attention_heads,
            getattr(config, "num_key_value_heads", config.num_attention_heads),
        )
        self.is_llama = config.model_type == "llama"
        self._kept = {}

    def unedited(self, tokens):
        key = tuple(tokens)
        if key not in self._kept:
            self._kept[key] = self._run(tokens, [], None, None)
        return self._kept[key]

    def logits(self, tokens, edits, donors, freeze=False):
        """Logits [position, token] in double. `donors` gives the tokens of (prompt, side), or of
        a prompt on the base side."""
        frozen = self.unedited(tokens)[0] if freeze else None
        for edit in edits:  # now, because hooks of two runs must not meet
            for named in (*edit.sources, *([edit.donor] if edit.donor else [])):
                self.unedited(donors(named))
        return self._run(tokens, edits, donors, frozen)[1].double()

    @torch.no_grad()
    def _run(self, tokens, edits, donors, frozen):
        sites, handles = {}, []
        module = modeling_llama if self.is_llama else modeling_gpt2
        for layer in range(self.shape.layers):
            work = Layer(self, layer, [e for e in edits if e.layer == layer], donors, sites)
            work.length = len(tokens)
            handles += work.hooks(frozen)
            self.reference.attention[layer].edited = work
        whole, module.eager_attention_forward = module.eager_attention_forward, _attention
        try:
            logits = self.model(torch.tensor([tokens]), use_cache=False).logits[0]
        finally:
            module.eager_attention_forward = whole
            for handle in handles:
                handle.remove()
        return sites, logits


class Layer:
    """The edits of one layer in one run, and the hooks that do them."""

    def __init__(self, hooked, layer, edits, donors, sites):
        self.hooked, self.layer, self.edits = hooked, layer, edits
        self.donors, self.sites = donors, sites
        self.length = None  # of the prompt

    def hooks(self, frozen):
        reference, layer = self.hooked.reference, self.layer
        block, norm = reference.layers[layer], reference.mid_norm[layer]
        first_norm = block.input_layernorm if self.hooked.is_llama else block.ln_1
        down = block.mlp.down_proj if self.hooked.is_llama else block.mlp.c_proj
        handles = [block.register_forward_pre_hook(self._before("resid_pre"))]
        if frozen is not None:
            base = frozen[layer, "resid_pre"][None]
            handles.append(first_norm.register_forward_pre_hook(lambda *_: (base,)))
        if self.hooked.is_llama:
            for name in "qkv":
                projection = getattr(block.self_attn, f"{name}_proj")
                handles.append(projection.register_forward_hook(self._after(name)))
        else:
            handles.append(block.attn.c_attn.register_forward_hook(self._after_joined))
        handles.append(reference.projection[layer].register_forward_pre_hook(self._before("z")))
        handles.append(reference.attention[layer].register_forward_hook(self._after("attn_out")))
        handles.append(norm.register_forward_pre_hook(self._around_mlp_input(frozen)))
        handles.append(norm.register_forward_hook(self._after("mlp_norm")))
        handles.append(down.register_forward_pre_hook(self._before("mlp_hidden")))
        handles.append(block.mlp.register_forward_hook(self._after("mlp_out")))
        handles.append(block.register_forward_hook(self._after("resid_post")))
        return handles

    def _before(self, site):
        def hook(_, arguments):
            return (self.change(site, arguments[0][0].clone())[None], *arguments[1:])

        return hook

    def _after(self, site):
        def hook(_, __, output):
            several = isinstance(output, tuple)
            states = output[0] if several else output
            states = self.change(site, states[0].clone())[None]
            return (states, *output[1:]) if several else states

        return hook

    def _after_joined(self, _, __, output):
        parts = zip("qkv", output[0].chunk(3, -1), strict=True)
        return torch.cat([self.change(site, part.clone()) for site, part in parts], -1)[None]

    def _around_mlp_input(self, frozen):
        def hook(_, arguments):
            stream = arguments[0]
            stream[0] = self.change("resid_mid", stream[0].clone())  # the block adds to this one
            read = stream[0] if frozen is None else frozen[self.layer, "resid_mid"]
            return (self.change("mlp_in", read.clone())[None],)

        return hook

    def donor(self, edit, site=None):
        tokens = self.donors(edit.donor)
        return self.hooked.unedited(tokens)[0][self.layer, site or edit.site]

    def change(self, site, states):
        """Does the whole-vector edits of a site on [position, width], and remembers the result."""
        for edit in self.edits:
            if edit.site == site and edit.edges is None:
                width = states.shape[1]
                if site in edits_file.QUERY_HEADS:
                    width //= self.hooked.shape.query_heads
                elif site in edits_file.KEY_HEADS:
                    width //= self.hooked.shape.key_heads
                for head in edit.heads:
                    columns = slice(head * width, (head + 1) * width)
                    rows = torch.tensor(edit.positions)
                    states[rows, columns] = self._new(edit, states[rows, columns], rows, columns)
        self.sites[self.layer, site] = states
        return states

    def _new(self, edit, old, rows, columns):
        vector = None if edit.vector is None else edit.vector.to(old.dtype)
        if edit.operation == "zero":
            return old * 0
        if edit.operation == "value_bias":
            return self._value_bias(columns).to(old.dtype).expand_as(old)
        if edit.operation == "mean":
            return torch.stack([self._mean(edit, row, columns) for row in rows.tolist()])
        if edit.operation == "replace" and vector is not None:
            return vector.expand_as(old)
        if edit.operation == "replace":
            return self.donor(edit)[rows, columns]
        if edit.operation == "add":
            return old + edit.scale * vector
        along = torch.outer(old @ vector, vector)
        if edit.operation == "remove":
            return old - along
        assert edit.operation == "transplant", edit.operation
        return old - along + torch.outer(self.donor(edit)[rows, columns] @ vector, vector)

    def _value_bias(self, columns):
        """The value bias behind some columns of z, from biases laid out like z."""
        attention = self.hooked.reference.attention[self.layer]
        bias = attention.v_proj.bias if self.hooked.is_llama else attention.c_attn.bias.chunk(3)[2]
        if bias is None:
            return torch.zeros(columns.stop - columns.start)
        size, repeats = columns.stop - columns.start, self.hooked.shape
        by_head = bias.reshape(-1, size)
        repeats = repeats.query_heads // repeats.key_heads
        return by_head.repeat_interleave(repeats, 0).flatten()[columns]

    def _mean(self, edit, row, columns):
        found = []
        for prompt in edit.sources:
            there = self.hooked.unedited(self.donors(prompt))[0][self.layer, edit.site]
            if len(there) >= self.length - row:
                found.append(there[row - self.length, columns])
        return torch.stack(found).mean(0)

    def attend(self, query, key, value, scaling):
        """z [position, head, size] from [head, position, size], keys and values one per head."""
        length = query.shape[1]
        self.sites[self.layer, "roped_q"], self.sites[self.layer, "roped_k"] = query, key
        causal = torch.ones(length, length).triu(1).bool()
        scores = (query @ key.transpose(1, 2) * scaling).masked_fill(causal, -torch.inf)
        for (head, q, k), ways in self._score_edges().items():
            if "cut" in ways:
                scores[head, q, k] = -torch.inf
                continue
            left = self._edge_vector(ways.get("q"), "roped_q", query, head, q)
            right = self._edge_vector(ways.get("k"), "roped_k", key, head, k)
            scores[head, q, k] = (left * right).sum() * scaling
        pattern = torch.softmax(scores, -1)
        pattern[torch.isnan(pattern)] = 0
        self.sites[self.layer, "pattern"] = pattern
        for edit in self.edits:
            if edit.site == "pattern":
                pattern = pattern.clone()
                for head in edit.heads:
                    new = 0 if edit.operation == "zero" else self.donor(edit)[head][edit.positions]
                    pattern[head, edit.positions] = new
        z = pattern @ value
        for head, q, k, edit in self._value_edges():
            new = 0 if edit.operation == "zero" else self._edge_value(edit, head, k)
            z[head, q] += pattern[head, q, k] * (new - value[head, k])
        return z.transpose(0, 1), pattern

    def _score_edges(self):
        """{(head, query, key): {"q": last edit of it, "k": ..., "cut": ...}}"""
        found = {}
        for edit in self.edits:
            if edit.edges is None or (edit.site == "v" and edit.operation != "cut"):
                continue
            name = "cut" if edit.operation == "cut" else edit.site
            for head in edit.heads:
                for q, k in edit.edges:
                    found.setdefault((head, q, k), {})[name] = edit
        return found

    def _edge_vector(self, edit, site, own, head, position):
        if edit is None:
            return own[head, position]
        if edit.operation == "zero":
            return own[head, position] * 0
        return self.donor(edit, site)[head, position]

    def _value_edges(self):
        """The last edit of each pair's value."""
        found = {}
        for edit in self.edits:
            if edit.edges is not None and edit.site == "v" and edit.operation != "cut":
                found.update({(h, q, k): edit for h in edit.heads for q, k in edit.edges})
        return [(*pair, edit) for pair, edit in found.items()]

    def _edge_value(self, edit, head, position):
        values = self.donor(edit).reshape(len(self.donor(edit)), self.hooked.shape.key_heads, -1)
        return values[position, head * values.shape[1] // self.hooked.shape.query_heads]


def _attention(module, query, key, value, attention_mask, scaling, **_):
    repeats = query.shape[1] // key.shape[1]
    key, value = (x[0].repeat_interleave(repeats, 0) for x in (key, value))
    z, pattern = module.edited.attend(query[0], key, value, scaling)
    return z[None], pattern[None]
