"""Makes transformers compute in double precision throughout.

`model.double()` alone does not: whatever the dtype of the weights, transformers computes RMS norms,
rotary angles and most softmaxes in float32 and then converts back. Inside `double_precision()`
every such request for float32 asks for float64 instead, so that the reference has no rounding worth
mentioning, with the modules otherwise untouched.
"""

from contextlib import contextmanager

import torch
from torch.overrides import TorchFunctionMode
from transformers.models.gptj import modeling_gptj

_SINGLE = (torch.float32, torch.float)


class _Promote(TorchFunctionMode):
    def __torch_function__(self, function, types, arguments=(), keywords=None):
        if function is torch.Tensor.float:
            return arguments[0].double()
        arguments = [torch.float64 if _is_single(one) else one for one in arguments]
        keywords = {
            name: torch.float64 if _is_single(one) else one
            for name, one in (keywords or {}).items()
        }
        return function(*arguments, **keywords)


def _is_single(value):
    return isinstance(value, torch.dtype) and value in _SINGLE


@contextmanager
def double_precision():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with _Promote():
            yield
    finally:
        torch.set_default_dtype(before)


def rebuild_constants(model):
    """Makes anew what a model computes once from its config: rotary frequencies, GPT-J's table of
    angles and Gemma's factor of the embedding. In double precision it removes their rounding; and
    for `dynamic` scaling it removes what earlier, longer prompts have left behind."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child).__name__.endswith("RotaryEmbedding"):
                setattr(parent, name, type(child)(child.config))
        if isinstance(parent, modeling_gptj.GPTJAttention):
            parent.embed_positions = modeling_gptj.create_sinusoidal_positions(
                parent.max_positions, parent.pos_embd_dim
            )
        if hasattr(parent, "scalar_embed_scale"):
            parent.embed_scale = torch.tensor(parent.scalar_embed_scale)
