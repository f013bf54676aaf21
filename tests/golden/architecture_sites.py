"""The sites of every architecture as places in transformers' own modules, read and zeroed by hooks.

A family is a function that maps one layer to its places. Every place shows its activation as
[position, head, width] (one head where the site has none), so that nothing else here knows how a
family lays out its projections. Definitions:

    resid_pre, resid_post   what enters and leaves a layer
    resid_mid               the sum after attention; no such place with a parallel residual
    q, k, v                 after bias and q/k norm, before rotation and before any scaling
    pattern, z              probabilities; weighted values before the output projection
    attn_out, mlp_out       what is added to the stream, after a post-norm where there is one
    mlp_in                  the stream that the MLP reads: resid_mid, or resid_pre in parallel;
                            an edit of it reaches the MLP and not the sum
    mlp_norm                mlp_in after the norm before the MLP; the same numbers without a norm
    mlp_hidden              the input of the MLP's last matrix
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import torch
from double_precision import double_precision, rebuild_constants
from transformers import AutoModelForCausalLM

SITES = (
    *("resid_pre", "q", "k", "v", "z", "attn_out", "resid_mid"),
    *("mlp_in", "mlp_norm", "mlp_hidden", "mlp_out", "resid_post"),
)


def _whole(heads):
    return lambda raw: raw.view(-1, heads, raw.shape[-1] // heads)


def _part(begin, heads, size):
    """Heads that lie side by side from column `begin` of a joined projection."""
    end = begin + heads * size
    return lambda raw: raw.view(-1, raw.shape[-1])[:, begin:end].unflatten(1, (heads, size))


@dataclass
class Place:
    """`side` is what of `module` holds the activation: its output, its input (of this module only),
    or `shared`, the very tensor that is also summed into the stream later. `again` is the norm of a
    module that reads an already normalised input; its activation is the input of `again`."""

    module: torch.nn.Module
    side: str
    view: Callable = _whole(1)
    again: torch.nn.Module = None


# ---------------------------------------------------------------------------------- the families


def _plain(layer, attention, projection, norm, mlp, last):
    """A norm before attention and one before the MLP, in sequence."""
    return {
        "resid_pre": Place(layer, "input"),
        "z": Place(projection, "input"),
        "attn_out": Place(attention, "output"),
        "resid_mid": Place(norm, "shared"),
        "mlp_in": Place(norm, "input"),
        "mlp_norm": Place(mlp, "input"),
        "mlp_hidden": Place(last, "input"),
        "mlp_out": Place(mlp, "output"),
        "resid_post": Place(layer, "output"),
    }


def _separate(attention, shape, queries=None, keys=None):
    return {
        "q": Place(queries or attention.q_proj, "output", _whole(shape.heads)),
        "k": Place(keys or attention.k_proj, "output", _whole(shape.kv_heads)),
        "v": Place(attention.v_proj, "output", _whole(shape.kv_heads)),
    }


def _llama_without_projections(layer):
    attention, norm = layer.self_attn, layer.post_attention_layernorm
    return _plain(layer, attention, attention.o_proj, norm, layer.mlp, layer.mlp.down_proj)


def _llama(layer, shape):
    return _llama_without_projections(layer) | _separate(layer.self_attn, shape)


def _qwen3(layer, shape):
    attention, places = layer.self_attn, _llama(layer, shape)
    places["q"] = Place(attention.q_norm, "output", lambda raw: raw[0])
    places["k"] = Place(attention.k_norm, "output", lambda raw: raw[0])
    return places


def _gemma2(layer, shape):
    places = _llama(layer, shape)
    before = layer.pre_feedforward_layernorm
    places["resid_mid"] = Place(before, "shared")
    places["mlp_in"] = Place(before, "input")
    places["attn_out"] = Place(layer.post_attention_layernorm, "output")
    places["mlp_out"] = Place(layer.post_feedforward_layernorm, "output")
    return places


def _gemma3(layer, shape):
    attention, places = layer.self_attn, _gemma2(layer, shape)
    places["q"] = Place(attention.q_norm, "output", lambda raw: raw[0].transpose(0, 1))
    places["k"] = Place(attention.k_norm, "output", lambda raw: raw[0].transpose(0, 1))
    return places


def _olmo2(layer, shape):
    attention, places = layer.self_attn, _llama_without_projections(layer)
    places |= _separate(attention, shape, attention.q_norm, attention.k_norm)
    places["resid_mid"] = Place(layer.mlp, "shared")
    places["mlp_in"] = Place(layer.mlp, "input")
    places["attn_out"] = Place(layer.post_attention_layernorm, "output")
    places["mlp_out"] = Place(layer.post_feedforward_layernorm, "output")
    return places


def _joined(module, shape):
    queries, keys = shape.heads * shape.head_size, shape.kv_heads * shape.head_size
    return {
        "q": Place(module, "output", _part(0, shape.heads, shape.head_size)),
        "k": Place(module, "output", _part(queries, shape.kv_heads, shape.head_size)),
        "v": Place(module, "output", _part(queries + keys, shape.kv_heads, shape.head_size)),
    }


def _phi3(layer, shape):
    return _llama_without_projections(layer) | _joined(layer.self_attn.qkv_proj, shape)


def _gpt2(layer, shape):
    places = _plain(layer, layer.attn, layer.attn.c_proj, layer.ln_2, layer.mlp, layer.mlp.c_proj)
    return places | _joined(layer.attn.c_attn, shape)


def _gpt_neox(layer, shape):
    attention, mlp = layer.attention, layer.mlp
    norm = layer.post_attention_layernorm
    places = _plain(layer, attention, attention.dense, norm, mlp, mlp.dense_4h_to_h)
    for order, site in enumerate("qkv"):

        def view(raw, order=order):
            return raw.view(-1, shape.heads, 3, shape.head_size)[:, :, order]

        places[site] = Place(attention.query_key_value, "output", view)
    if layer.use_parallel_residual:
        del places["resid_mid"]
    return places


def _gptj(layer, shape):
    attention, mlp = layer.attn, layer.mlp
    places = _plain(layer, attention, attention.out_proj, layer.ln_1, mlp, mlp.fc_out)
    places["mlp_in"] = Place(mlp, "input", again=layer.ln_1)
    del places["resid_mid"]
    return places | _separate(attention, shape)


def _opt(layer, shape):
    attention, norm = layer.self_attn, layer.final_layer_norm
    places = _plain(layer, attention, attention.out_proj, norm, layer.fc1, layer.fc2)
    places["mlp_out"] = Place(layer.fc2, "output")
    return places | _separate(attention, shape)


FAMILIES = {
    **{name: ("model.layers", "self_attn", _llama) for name in ("llama", "mistral", "qwen2")},
    "qwen3": ("model.layers", "self_attn", _qwen3),
    "gemma2": ("model.layers", "self_attn", _gemma2),
    "gemma3_text": ("model.layers", "self_attn", _gemma3),
    "olmo2": ("model.layers", "self_attn", _olmo2),
    "phi3": ("model.layers", "self_attn", _phi3),
    "gpt2": ("transformer.h", "attn", _gpt2),
    "gpt_neox": ("gpt_neox.layers", "attention", _gpt_neox),
    "gptj": ("transformer.h", "attn", _gptj),
    "opt": ("model.decoder.layers", "self_attn", _opt),
}


# --------------------------------------------------------------------------------------- the runs


def shape_of(config):
    heads = config.num_attention_heads
    return SimpleNamespace(
        layers=config.num_hidden_layers,
        heads=heads,
        kv_heads=getattr(config, "num_key_value_heads", None) or heads,
        head_size=getattr(config, "head_dim", None) or config.hidden_size // heads,
        width=config.hidden_size,
        vocab=config.vocab_size,
    )


def _register(place, act):
    """Hooks that show the place's activation to `act`, which may write into it."""
    module = place.module

    def on_input(_, arguments):
        raw = arguments[0].clone(memory_format=torch.contiguous_format)
        act(place.view(raw))
        return (raw, *arguments[1:])

    def on_shared(_, arguments):
        act(place.view(arguments[0]))

    def on_output(_, __, output):
        raw = (output[0] if isinstance(output, tuple) else output).clone()
        act(place.view(raw))
        return (raw, *output[1:]) if isinstance(output, tuple) else raw

    if place.again is not None:
        return _register_again(place, act)
    if place.side == "output":
        return [module.register_forward_hook(on_output)]
    return [module.register_forward_pre_hook(on_input if place.side == "input" else on_shared)]


def _register_again(place, act):
    """The norm before attention serves the MLP too: its input is kept, and what the MLP gets is
    the norm of that input as `act` leaves it."""
    kept = []

    def keep(_, arguments):
        kept.append(arguments[0])

    def on_input(_, arguments):
        raw = kept[0].clone()
        act(place.view(raw))
        keeper.remove()  # the second use of the norm is not another input to keep
        return (place.again(raw), *arguments[1:])

    keeper = place.again.register_forward_pre_hook(keep)
    return [keeper, place.module.register_forward_pre_hook(on_input)]


class SiteModel:
    """A checkpoint in transformers, eager attention, one prompt at a time. In float32 and the
    narrow types transformers runs as it is; float64 means double precision throughout."""

    def __init__(self, path, dtype):
        stored = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(dtype, torch.float32)
        keywords = {"dtype": stored, "attn_implementation": "eager"}
        path = Path(path)
        if path.suffix == ".gguf":
            path, keywords["gguf_file"] = path.parent, path.name
        self.model = AutoModelForCausalLM.from_pretrained(path, **keywords).eval()
        self.dtype = dtype
        self.config = self.model.config
        self.shape = shape_of(self.config)
        root, attention, family = FAMILIES[self.config.model_type]
        layers = self.model.get_submodule(root)
        if dtype == "float64":
            self.model.double()
        self.places = [family(layer, self.shape) for layer in layers]
        for places in self.places:
            places["z"].view = _whole(self.shape.heads)
        self.attention = [getattr(layer, attention) for layer in layers]

    def sites(self):
        return [site for site in SITES if site in self.places[0]]

    @torch.no_grad()
    def run(self, tokens, zeros=(), read=(), at=None):
        """Gives logits [position, token] and {(layer, site): activation} of what `read` lists;
        `zeros` lists (layer, site, head or None, positions) to set to zero. `at` lists the
        positions whose logits are wanted, by default all."""
        found, handles = {}, []
        for layer, site, head, positions in zeros:

            def clear(view, head=head, positions=positions):
                heads = slice(None) if head is None else [head]
                for position in positions:
                    view[position, heads] = 0.0

            handles += _register(self.places[layer][site], clear)
        for layer, site in read:
            if site == "pattern":

                def keep(_, __, output, layer=layer):
                    found[layer, "pattern"] = output[1][0].clone()

                handles.append(self.attention[layer].register_forward_hook(keep))
                continue

            def look(view, key=(layer, site)):
                found[key] = view.clone()

            handles += _register(self.places[layer][site], look)
        try:
            with double_precision() if self.dtype == "float64" else nullcontext():
                rebuild_constants(self.model)
                kept = {} if at is None else {"logits_to_keep": torch.tensor(at)}
                output = self.model(torch.tensor([tokens]), use_cache=False, **kept)
        finally:
            for handle in handles:
                handle.remove()
        return output.logits[0], found

    # What reference_tasks.base and golden_results.base_block ask of a reference.

    def final_states(self, tokens, edits=(), capture=()):
        assert len(tokens) == 1 and not edits and not capture
        return self.run(tokens[0])[0][None], {}

    def logits(self, states):
        return states
