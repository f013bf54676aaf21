"""The loop over heads that people write with transformers, and a double-precision third opinion."""

import sys
import time

import torch
import torch.nn.functional as functional
import transformers
from common import ROOT, BenchmarkError
from transformers import AutoModelForCausalLM


class TransformersLoop:
    """The plain batched loop. Nothing in it is slower than it has to be without new ideas: no
    cache, no gradients, one batch, and the unembedding only where a target is read."""

    def __init__(self, model, prompts, threads):
        torch.set_num_threads(threads)
        transformers.utils.logging.disable_progress_bar()
        self.model = AutoModelForCausalLM.from_pretrained(
            model.parent, gguf_file=model.name, dtype=torch.float32, attn_implementation="eager"
        ).eval()
        if len({len(prompt["tokens"]) for prompt in prompts}) != 1:
            raise BenchmarkError("the prompts differ in length, so they do not make one batch")
        self.tokens = torch.tensor([prompt["tokens"] for prompt in prompts])
        targets = [
            (index, target["at"], target["answer"], order)
            for index, prompt in enumerate(prompts)
            for order, target in enumerate(prompt["targets"])
        ]
        self.reads = [(index, order) for index, _, _, order in targets]
        rows, positions, answers, _ = (
            torch.tensor(column) for column in zip(*targets, strict=True)
        )
        self.rows, self.positions, self.answers = rows, positions, answers
        shape = self.model.config
        self.head_count = shape.num_attention_heads
        self.head_size = getattr(shape, "head_dim", None) or shape.hidden_size // self.head_count

    def losses(self):
        """The loss of every target, nats."""
        states = self.model.model(self.tokens, use_cache=False).last_hidden_state
        logits = self.model.lm_head(states[self.rows, self.positions])
        return functional.cross_entropy(logits, self.answers, reduction="none")

    def losses_without(self, layer, head):
        columns = slice(head * self.head_size, (head + 1) * self.head_size)

        def zero(_, inputs):
            z = inputs[0].clone()
            z[..., columns] = 0.0
            return (z, *inputs[1:])

        projection = self.model.model.layers[layer].self_attn.o_proj
        handle = projection.register_forward_pre_hook(zero)
        try:
            return self.losses()
        finally:
            handle.remove()

    @torch.inference_mode()
    def measure(self, layers):
        """Seconds of one sweep, base run included, and what it found."""
        heads = [(layer, head) for layer in layers for head in range(self.head_count)]
        start = time.perf_counter()
        base = self.losses()
        found = [self.losses_without(layer, head) - base for layer, head in heads]
        seconds = time.perf_counter() - start
        deltas = {
            (layer, head, *read): value
            for (layer, head), values in zip(heads, found, strict=True)
            for read, value in zip(self.reads, values.tolist(), strict=True)
        }
        return seconds, deltas

    @torch.inference_mode()
    def warm_up(self):
        self.losses_without(0, 0)


def delta_loss_in_double(model, prompt, layer, head, target):
    """The effect of zeroing one head on one target of one prompt, computed in float64 by the
    script that made the golden files."""
    sys.path.append(str(ROOT / "tests/golden"))
    import reference_sweep

    reference = reference_sweep.Reference(model, "float64")
    prompts = [reference_sweep.parse_prompt(0, prompt)]
    base = reference_sweep.base(reference, prompts)
    edited = reference_sweep.joint_head_ablation(reference, prompts, [(layer, head)])
    return edited[0][target]["loss"] - base[0][target]["loss"]
