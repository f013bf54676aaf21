"""TransformerLens, through its bridge to transformers models.

Its start_at_layer saves nothing here: "Blocks 0..k-1 still execute internally", says its help. It
computes attention by itself, without fused kernels.
"""

import torch
from interface import Peer, load_tokenizer
from transformer_lens.model_bridge import TransformerBridge


class TransformerLensPeer(Peer):
    name = "TransformerLens"
    package = "transformer-lens"

    def __init__(self, model, path):
        self.model = TransformerBridge.boot_transformers(
            "HuggingFaceTB/SmolLM2-135M-Instruct",  # a name only: the model is here already
            hf_model=model,
            tokenizer=load_tokenizer(path),
            device="cpu",
        )
        self.count = self.model.cfg.n_layers

    def losses(self, batch, tokens, hooks=()):
        logits = self.model.run_with_hooks(
            tokens, fwd_hooks=list(hooks), return_type="logits", use_cache=False, logits_to_keep=1
        )
        return batch.losses(logits[:, -1])

    def losses_without(self, batch, layer, head, position):
        rows = slice(None) if position is None else position

        def zero(z, hook):
            z[:, rows, head] = 0.0
            return z

        return self.losses(batch, batch.tokens, [(f"blocks.{layer}.attn.hook_z", zero)])

    def donor(self, batch):
        logits, cache = self.model.run_with_cache(
            batch.tokens,
            names_filter=[f"blocks.{layer}.hook_resid_pre" for layer in range(self.count)],
            use_cache=False,
            logits_to_keep=1,
        )
        return batch.losses(logits[:, -1]), [cache["resid_pre", n] for n in range(self.count)]

    def losses_patched(self, batch, layer, position, residuals):
        def paste(states, hook):
            states[:, position] = residuals[layer][:, position]
            return states

        return self.losses(batch, batch.corrupt, [(f"blocks.{layer}.hook_resid_pre", paste)])

    def scores(self, tokens, scores):
        found = [None] * self.count

        def read(pattern, hook):
            found[hook.layer()] = scores.of(pattern)

        self.model.run_with_hooks(
            tokens,
            fwd_hooks=[(lambda name: name.endswith("hook_pattern"), read)],
            return_type=None,
            use_cache=False,
            logits_to_keep=1,
        )
        return torch.stack(found, 2)
