"""transformers with hooks: no library between."""

from contextlib import contextmanager

import torch
from interface import Peer


@contextmanager
def attached(*handles):
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class TransformersPeer(Peer):
    name = "transformers"
    package = "transformers"

    def __init__(self, model, path):
        self.model = model
        self.layers = self.model.model.layers
        self.size = self.model.config.head_dim

    def losses(self, batch, tokens):
        return batch.losses(self.model(tokens, use_cache=False, logits_to_keep=1).logits[:, -1])

    def losses_without(self, batch, layer, head, position):
        columns = slice(head * self.size, (head + 1) * self.size)
        rows = slice(None) if position is None else position

        def zero(_, inputs):
            # Nobody else reads z, so it is edited in place.
            inputs[0][:, rows, columns] = 0.0

        with attached(self.layers[layer].self_attn.o_proj.register_forward_pre_hook(zero)):
            return self.losses(batch, batch.tokens)

    def donor(self, batch):
        found = self.model(
            batch.tokens, use_cache=False, logits_to_keep=1, output_hidden_states=True
        )
        return batch.losses(found.logits[:, -1]), found.hidden_states[: len(self.layers)]

    def losses_patched(self, batch, layer, position, residuals):
        def paste(_, inputs):
            states = inputs[0].clone()
            states[:, position] = residuals[layer][:, position]
            return (states, *inputs[1:])

        with attached(self.layers[layer].register_forward_pre_hook(paste)):
            return self.losses(batch, batch.corrupt)

    def scores(self, tokens, scores):
        found = []

        def read(_, __, output):
            found.append(scores.of(output[1]))

        with attached(*(layer.self_attn.register_forward_hook(read) for layer in self.layers)):
            self.model.model(tokens, use_cache=False)
        return torch.stack(found, 2)
