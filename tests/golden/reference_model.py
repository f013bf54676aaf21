"""A transformers model with hooks at its sites: whole forward passes, edited and read."""

from collections import defaultdict
from pathlib import Path

import torch
import torch.nn.functional as functional
from transformers import AutoModelForCausalLM
from transformers.models.llama import modeling_llama

SITES = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "z")


def _norm_in_own_dtype(module, states):
    variance = states.pow(2).mean(-1, keepdim=True)
    return module.weight * (states * torch.rsqrt(variance + module.variance_epsilon))


def _rotary_in_own_dtype(module, states, position_ids):
    config = module.config
    base = float(config.rope_parameters["rope_theta"])
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    exponents = torch.arange(0, size, 2, dtype=states.dtype) / size
    angles = position_ids[..., None].to(states.dtype) * base**-exponents
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos(), angles.sin()


def _llama_attention_in_own_dtype(module, query, key, value, attention_mask, scaling, **_):
    key = modeling_llama.repeat_kv(key, module.num_key_value_groups)
    value = modeling_llama.repeat_kv(value, module.num_key_value_groups)
    scores = torch.matmul(query, key.transpose(2, 3)) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    pattern = functional.softmax(scores, dim=-1)
    return torch.matmul(pattern, value).transpose(1, 2).contiguous(), pattern


_eager_llama_attention = modeling_llama.eager_attention_forward


def _llama_attention(module, query, *arguments, **named):
    chosen = (
        _llama_attention_in_own_dtype if query.dtype == torch.float64 else _eager_llama_attention
    )
    return chosen(module, query, *arguments, **named)


def _make_truly_double(model):
    """transformers computes norms, rotary angles and softmax of a Llama in float32 whatever the
    dtype; a reference in double precision must not."""
    modeling_llama.eager_attention_forward = _llama_attention
    for module in model.modules():
        if isinstance(module, modeling_llama.LlamaRMSNorm):
            module.forward = _norm_in_own_dtype.__get__(module)
        elif isinstance(module, modeling_llama.LlamaRotaryEmbedding):
            module.forward = _rotary_in_own_dtype.__get__(module)


class Reference:
    """A model with the places named where its sites are. All forwards run without gradients.

    The module behind each site, by architecture:

        site        llama                                gpt2
        resid_pre   input of layers[l]                   input of h[l]
        z           input of layers[l].self_attn.o_proj  input of h[l].attn.c_proj
        attn_out    output of layers[l].self_attn        output of h[l].attn
        resid_mid   input of post_attention_layernorm    input of h[l].ln_2
        mlp_out     output of layers[l].mlp              output of h[l].mlp
        resid_post  output of layers[l]                  output of h[l]
    """

    def __init__(self, path, dtype="float32"):
        path = Path(path)
        wanted = {"float32": torch.float32, "float64": torch.float64}[dtype]
        keywords = {"dtype": torch.float32, "attn_implementation": "eager"}
        if path.suffix == ".gguf":
            folder, keywords["gguf_file"] = path.parent, path.name
        else:
            folder = path
        model = AutoModelForCausalLM.from_pretrained(folder, **keywords).eval()
        self.dtype = dtype
        self.config = model.config
        kind = model.config.model_type
        if kind == "llama":
            self.layers = list(model.model.layers)
            self.attention = [layer.self_attn for layer in self.layers]
            self.projection = [layer.self_attn.o_proj for layer in self.layers]
            self.mid_norm = [layer.post_attention_layernorm for layer in self.layers]
        elif kind == "gpt2":
            self.layers = list(model.transformer.h)
            self.attention = [layer.attn for layer in self.layers]
            self.projection = [layer.attn.c_proj for layer in self.layers]
            self.mid_norm = [layer.ln_2 for layer in self.layers]
        else:
            raise ValueError(f"no sites are known for a model of type {kind!r}")
        self.mlp = [layer.mlp for layer in self.layers]
        self.model = model.to(wanted)
        if wanted == torch.float64 and kind == "llama":
            _make_truly_double(self.model)
        self.backbone = self.model.base_model
        self.unembedding = self.model.get_output_embeddings()
        if getattr(model.config, "tie_word_embeddings", False):
            tied = torch.equal(self.unembedding.weight, self.model.get_input_embeddings().weight)
            assert tied, "transformers did not tie the unembedding to the embedding"
        self.layer_count = len(self.layers)
        self.head_count = model.config.num_attention_heads
        self.head_size = (
            getattr(model.config, "head_dim", None) or model.config.hidden_size // self.head_count
        )

    def _place(self, layer, site, act):
        """Registers a hook that gives the site's tensor [batch, position, width] to `act`. `act`
        may write into it; the model goes on with what it wrote."""

        def on_input(_, arguments):
            states = arguments[0].clone()
            act(states)
            return (states, *arguments[1:])

        def on_shared_input(_, arguments):
            # The block keeps this very tensor as its residual, so writing in place reaches both
            # the MLP's input and the sum after it. A clone would reach only the first.
            act(arguments[0])

        def on_output(_, __, output):
            if isinstance(output, tuple):
                states = output[0].clone()
                act(states)
                return (states, *output[1:])
            states = output.clone()
            act(states)
            return states

        if site == "resid_pre":
            return self.layers[layer].register_forward_pre_hook(on_input)
        if site == "z":
            return self.projection[layer].register_forward_pre_hook(on_input)
        if site == "resid_mid":
            return self.mid_norm[layer].register_forward_pre_hook(on_shared_input)
        if site == "attn_out":
            return self.attention[layer].register_forward_hook(on_output)
        if site == "mlp_out":
            return self.mlp[layer].register_forward_hook(on_output)
        if site == "resid_post":
            return self.layers[layer].register_forward_hook(on_output)
        raise ValueError(f"no site named {site!r}")

    @torch.no_grad()
    def run(self, tokens, edits, capture=(), **wanted):
        grouped = defaultdict(list)
        for edit in edits:
            grouped[edit[1], edit[2]].append(edit)
        captured = {}
        handles = []
        for (layer, site), group in grouped.items():

            def write(states, group=group):
                for row, _, _, head, positions, value in group:
                    columns = self.columns(head)
                    for order, position in enumerate(positions):
                        kept = 0.0 if value is None else value[order]
                        states[row, position, columns] = kept

            handles.append(self._place(layer, site, write))
        for layer, site in capture:

            def read(states, key=(layer, site)):
                captured[key] = states.clone()

            handles.append(self._place(layer, site, read))
        try:
            ids = None if tokens is None else torch.as_tensor(tokens)
            output = self.backbone(ids, use_cache=False, **wanted)
        finally:
            for handle in handles:
                handle.remove()
        return output, captured

    def final_states(self, tokens, edits=(), capture=()):
        """Runs [batch, length] tokens; returns the states after the final norm and the captured
        sites {(layer, site): tensor}. An edit is (row, layer, site, head, positions, value): head
        is None or an index of z, value None (zero) or [len(positions), width] (with a head, of
        the head's width)."""
        output, captured = self.run(tokens, edits, capture)
        return output.last_hidden_state, captured

    def columns(self, head):
        if head is None:
            return slice(None)
        return slice(head * self.head_size, (head + 1) * self.head_size)

    @torch.no_grad()
    def logits(self, states):
        return self.unembedding(states)

    def patterns(self, tokens, edits=()):
        """Attention probabilities [layer, batch, head, query, key]."""
        output, _ = self.run(tokens, edits, output_attentions=True)
        return torch.stack(output.attentions)
