"""nnsight: one trace per intervention, without and with its `skip`."""

import torch
from interface import Peer, Unsupported, load_tokenizer
from nnsight import TransformersModel


class NnsightPeer(Peer):
    name = "nnsight"
    package = "nnsight"

    def __init__(self, model, path):
        self.model = TransformersModel(
            model, tokenizer=load_tokenizer(path), task="text-generation"
        )
        self.layers = self.model.model.layers
        self.size = model.config.head_dim
        self.options = {"use_cache": False, "logits_to_keep": 1}

    def skip_to(self, layer):
        """Within a trace: leaves out what comes before a layer, where that is wanted."""

    def losses(self, batch, tokens):
        with self.model.trace(tokens, **self.options):
            logits = self.model.lm_head.output.save()
        return batch.losses(logits[:, -1])

    def losses_without(self, batch, layer, head, position):
        columns = slice(head * self.size, (head + 1) * self.size)
        rows = slice(None) if position is None else position
        with self.model.trace(batch.tokens, **self.options):
            self.skip_to(layer)
            self.layers[layer].self_attn.o_proj.input[:, rows, columns] = 0.0
            logits = self.model.lm_head.output.save()
        return batch.losses(logits[:, -1])

    def donor(self, batch):
        with self.model.trace(batch.tokens, **self.options):
            states = [layer.input.save() for layer in self.layers].save()
            logits = self.model.lm_head.output.save()
        return batch.losses(logits[:, -1]), states

    def losses_patched(self, batch, layer, position, residuals):
        values = residuals[layer][:, position]
        with self.model.trace(batch.corrupt, **self.options):
            self.skip_to(layer)
            self.layers[layer].input[:, position] = values
            logits = self.model.lm_head.output.save()
        return batch.losses(logits[:, -1])

    def scores(self, tokens, scores):
        with self.model.trace(tokens, **self.options):
            found = [scores.of(layer.self_attn.output[1]) for layer in self.layers].save()
        return torch.stack(found, 2)


class NnsightSkippingPeer(NnsightPeer):
    """Layers before the edited one are not run again: their results are those of the base run. Few
    users write this, but it is the least that one of these libraries can be made to do."""

    name = "nnsight, skipping layers"

    def losses(self, batch, tokens):
        with self.model.trace(tokens, **self.options):
            self.base_states = [layer.output.save() for layer in self.layers].save()
            logits = self.model.lm_head.output.save()
        return batch.losses(logits[:, -1])

    def skip_to(self, layer):
        for module, states in zip(self.layers[:layer], self.base_states, strict=False):
            module.skip(states)

    def scores(self, tokens, scores):
        raise Unsupported("nothing to skip, so the same as nnsight")
