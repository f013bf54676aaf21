"""pyvene: the model wrapped once per intervention, as its tutorials do."""

import logging

import pyvene
from interface import Peer, Unsupported


class PyvenePeer(Peer):
    name = "pyvene"
    package = "pyvene"

    def __init__(self, model, path):
        logging.getLogger().setLevel(logging.ERROR)  # it warns about every fast path it takes
        self.model = model

    def run(self, batch, tokens, representation, where):
        """`where`: the units of every prompt, as pyvene nests them."""
        wrapped = pyvene.IntervenableModel(representation, model=self.model, use_fast=True)
        inputs = {"input_ids": tokens, "use_cache": False, "logits_to_keep": 1}
        _, output = wrapped(inputs, unit_locations={"sources->base": (None, [where])})
        return batch.losses(output.logits[:, -1])

    def losses(self, batch, tokens):
        return batch.losses(self.model(tokens, use_cache=False, logits_to_keep=1).logits[:, -1])

    def losses_without(self, batch, layer, head, position):
        count, length = batch.tokens.shape
        rows = range(length) if position is None else [length - 1]
        representation = {
            "layer": layer,
            "component": "head_attention_value_output",
            "unit": "h.pos",
            "intervention_type": pyvene.ZeroIntervention,
        }
        return self.run(
            batch, batch.tokens, representation, [[[head]] * count, [list(rows)] * count]
        )

    def donor(self, batch):
        # Not output_hidden_states: pyvene takes off all hooks of the model, and with them those
        # that transformers collects hidden states by.
        states, layers = [], self.model.model.layers
        handles = [
            layer.register_forward_pre_hook(lambda _, inputs: states.append(inputs[0]))
            for layer in layers
        ]
        losses = self.losses(batch, batch.tokens)
        for handle in handles:
            handle.remove()
        return losses, states

    def losses_patched(self, batch, layer, position, residuals):
        representation = {
            "layer": layer,
            "component": "block_input",
            "unit": "pos",
            "intervention_type": pyvene.VanillaIntervention,
            "source_representation": residuals[layer][:, position : position + 1],
        }
        return self.run(batch, batch.corrupt, representation, [[position]] * len(batch.corrupt))

    def scores(self, tokens, scores):
        raise Unsupported("no component of pyvene names the attention probabilities")
