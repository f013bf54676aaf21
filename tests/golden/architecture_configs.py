"""The configurations of the small checkpoints of every architecture, and what each exercises.

At least two per architecture, which together visit every corner that a config can ask for. Sizes
are odd and small; windows and original context lengths are shorter than most prompts.
"""

from dataclasses import dataclass, field

import torch

SMALL = {
    "vocab_size": 61,
    "hidden_size": 24,
    "intermediate_size": 26,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
THREE = {"num_hidden_layers": 3}
CAPS = {"attn_logit_softcapping": 1.5, "final_logit_softcapping": 4.0}


def rope(kind, **more):
    return {"rope_type": kind, "rope_theta": 700.0, **more}


DEFAULT_ROPE = rope("default")


@dataclass
class Checkpoint:
    kind: str
    exercises: str
    config: dict
    dtype: torch.dtype = torch.float32
    shards: str = None  # the largest size of one
    older: dict = field(default_factory=dict)  # replaces keys of config.json; None removes one


GPT2 = {"vocab_size": 61, "n_positions": 32, "n_embd": 24, "n_head": 3}
NEOX = {key: value for key, value in SMALL.items() if key != "num_key_value_heads"}
OPT = {key: NEOX[key] for key in NEOX if key != "intermediate_size"} | {"ffn_dim": 38}
YARN = {"factor": 4.0, "original_max_position_embeddings": 16}
YARN_GIVEN = {
    **YARN,
    "attention_factor": 1.37,
    "beta_fast": 1.5,
    "beta_slow": 0.25,
    "truncate": False,
}
LLAMA3 = {
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
LONG_FACTORS = {"short_factor": [1.0, 1.1, 1.3], "long_factor": [1.5, 2.5, 4.0]}
SLIDING, FULL = "sliding_attention", "full_attention"
LOCAL_ROPE = {"rope_type": "default", "rope_theta": 50.0}
GLOBAL_ROPE = {"rope_type": "default", "rope_theta": 9000.0}

CHECKPOINTS = {
    "gpt2-inverse-layer": Checkpoint(
        "gpt2",
        "scores divided by the layer's number, exact GELU, MLP narrower than 4 D",
        {
            **GPT2,
            "n_layer": 3,
            "n_inner": 38,
            "activation_function": "gelu",
            "scale_attn_by_inverse_layer_idx": True,
        },
    ),
    "gpt2-relu": Checkpoint(
        "gpt2",
        "ReLU, scores not divided by the root of the head size, unembedding of its own",
        {
            **GPT2,
            "n_layer": 2,
            "n_inner": 50,
            "activation_function": "relu",
            "scale_attn_weights": False,
            "tie_word_embeddings": False,
        },
    ),
    "gpt-neox-parallel": Checkpoint(
        "gpt_neox",
        "parallel residual, a quarter of each head rotated, older keys (rotary_pct)",
        {
            **NEOX,
            "hidden_size": 32,
            "num_attention_heads": 2,
            "rope_parameters": {**DEFAULT_ROPE, "partial_rotary_factor": 0.25},
        },
        older={"rope_parameters": None, "rotary_pct": 0.25, "rotary_emb_base": 700.0},
    ),
    "gpt-neox-serial": Checkpoint(
        "gpt_neox",
        "serial residual, half of each head rotated, tied, tanh GELU, float16 file",
        {
            **NEOX,
            "hidden_size": 32,
            "use_parallel_residual": False,
            "tie_word_embeddings": True,
            "hidden_act": "gelu_new",
            "rope_parameters": {**DEFAULT_ROPE, "partial_rotary_factor": 0.5},
        },
        dtype=torch.float16,
    ),
    "llama-rope-llama3": Checkpoint(
        "llama",
        "llama3 scaling in the older spelling (rope_scaling), tied, bfloat16 file in two shards",
        {
            **SMALL,
            "head_dim": 12,
            "tie_word_embeddings": True,
            "rope_parameters": rope("llama3", **LLAMA3),
        },
        dtype=torch.bfloat16,
        shards="14KB",
        older={
            "rope_parameters": None,
            "rope_theta": 700.0,
            "rope_scaling": {"rope_type": "llama3", **LLAMA3},
        },
    ),
    "llama-rope-linear": Checkpoint(
        "llama",
        "linear scaling in the oldest spelling (type, no head_dim), one key/value head",
        {**SMALL, "num_key_value_heads": 1, "rope_parameters": rope("linear", factor=4.0)},
        older={
            "rope_parameters": None,
            "head_dim": None,
            "rope_theta": 700.0,
            "rope_scaling": {"type": "linear", "factor": 4.0},
        },
    ),
    "llama-rope-dynamic": Checkpoint(
        "llama",
        "dynamic scaling; prompts on both sides of 12 positions, where its base begins to grow",
        {**SMALL, "max_position_embeddings": 12, "rope_parameters": rope("dynamic", factor=3.0)},
    ),
    "llama-rope-yarn": Checkpoint(
        "llama",
        "yarn with its defaults for attention_factor, beta_fast and beta_slow",
        {**SMALL, "head_dim": 12, "rope_parameters": rope("yarn", **YARN)},
    ),
    "llama-rope-yarn-given": Checkpoint(
        "llama",
        "yarn with attention_factor, beta_fast, beta_slow and truncate given; rope_scaling",
        {
            **SMALL,
            "head_dim": 12,
            "rope_parameters": rope("yarn", **YARN_GIVEN),
        },
        older={
            "rope_parameters": None,
            "rope_theta": 700.0,
            "rope_scaling": {"rope_type": "yarn", **YARN_GIVEN},
        },
    ),
    "llama-rope-yarn-mscale": Checkpoint(
        "llama",
        "yarn with mscale and mscale_all_dim; biases of attention and MLP",
        {
            **SMALL,
            "head_dim": 12,
            "attention_bias": True,
            "mlp_bias": True,
            "rope_parameters": rope(
                "yarn", **YARN, beta_fast=2.0, beta_slow=0.5, mscale=1.4, mscale_all_dim=0.6
            ),
        },
    ),
    "mistral-window": Checkpoint(
        "mistral",
        "window of 5 in every layer, head_dim not D / H, three shards",
        {**SMALL, "head_dim": 10, "sliding_window": 5, "rope_parameters": DEFAULT_ROPE},
        shards="24KB",
    ),
    "mistral-full": Checkpoint(
        "mistral",
        "no window (null), no head_dim, older keys (rope_theta, torch_dtype)",
        {**SMALL, **THREE, "sliding_window": None, "rope_parameters": DEFAULT_ROPE},
        older={
            "rope_parameters": None,
            "rope_theta": 700.0,
            "head_dim": None,
            "dtype": None,
            "torch_dtype": "float32",
        },
    ),
    "qwen2-tied": Checkpoint(
        "qwen2",
        "biases on q, k and v, tied; a sliding_window that use_sliding_window switches off",
        {**SMALL, "tie_word_embeddings": True, "rope_parameters": DEFAULT_ROPE},
        older={
            "rope_parameters": None,
            "rope_theta": 700.0,
            "layer_types": None,
            "use_sliding_window": False,
            "sliding_window": 4,
            "max_window_layers": 1,
        },
    ),
    "qwen2-window": Checkpoint(
        "qwen2",
        "window of 6 from layer 1 on (max_window_layers), no layer_types, untied",
        {
            **SMALL,
            **THREE,
            "use_sliding_window": True,
            "sliding_window": 6,
            "max_window_layers": 1,
            "rope_parameters": DEFAULT_ROPE,
        },
        older={"layer_types": None},
    ),
    "qwen2-layer-types": Checkpoint(
        "qwen2",
        "windows by layer_types, against what max_window_layers would give",
        {
            **SMALL,
            **THREE,
            "use_sliding_window": True,
            "sliding_window": 4,
            "max_window_layers": 3,
            "layer_types": [SLIDING, FULL, SLIDING],
            "rope_parameters": DEFAULT_ROPE,
        },
    ),
    "qwen3-norms": Checkpoint(
        "qwen3",
        "q and k norms per head, head_dim not D / H, tied",
        {**SMALL, "head_dim": 14, "tie_word_embeddings": True, "rope_parameters": DEFAULT_ROPE},
    ),
    "qwen3-window": Checkpoint(
        "qwen3",
        "q and k norms, biases of attention, window of 5 in some layers, yarn",
        {
            **SMALL,
            **THREE,
            "head_dim": 8,
            "attention_bias": True,
            "use_sliding_window": True,
            "sliding_window": 5,
            "layer_types": [SLIDING, FULL, SLIDING],
            "rope_parameters": rope("yarn", **YARN),
        },
    ),
    "gemma2-caps": Checkpoint(
        "gemma2",
        "soft caps of scores and logits, window of 5 in every other layer, query_pre_attn_scalar",
        {
            **SMALL,
            **THREE,
            **CAPS,
            "head_dim": 8,
            "query_pre_attn_scalar": 20,
            "sliding_window": 5,
            "rope_parameters": DEFAULT_ROPE,
        },
        older={"rope_parameters": None, "rope_theta": 700.0, "layer_types": None},
    ),
    "gemma2-plain": Checkpoint(
        "gemma2",
        "no soft caps, windows by layer_types the other way round, bfloat16 file",
        {
            **SMALL,
            "head_dim": 10,
            "attn_logit_softcapping": None,
            "final_logit_softcapping": None,
            "query_pre_attn_scalar": 10,
            "sliding_window": 7,
            "layer_types": [FULL, SLIDING],
            "rope_parameters": DEFAULT_ROPE,
        },
        dtype=torch.bfloat16,
    ),
    "gemma3-pattern": Checkpoint(
        "gemma3_text",
        "older keys: sliding_window_pattern, rope_local_base_freq, linear rope_scaling (global)",
        {
            **SMALL,
            "num_hidden_layers": 4,
            "num_key_value_heads": 1,
            "head_dim": 8,
            "query_pre_attn_scalar": 12,
            "sliding_window": 5,
            "layer_types": [SLIDING, FULL, SLIDING, FULL],
            "rope_parameters": {
                FULL: GLOBAL_ROPE | {"rope_type": "linear", "factor": 8.0},
                SLIDING: LOCAL_ROPE,
            },
        },
        older={
            "rope_parameters": None,
            "layer_types": None,
            "_sliding_window_pattern": None,
            "sliding_window_pattern": 2,
            "rope_theta": 9000.0,
            "rope_local_base_freq": 50.0,
            "rope_scaling": {"rope_type": "linear", "factor": 8.0},
        },
    ),
    "gemma3-layer-types": Checkpoint(
        "gemma3_text",
        "two rope bases by layer type, layer_types, a cap of the logits, untied",
        {
            **SMALL,
            **THREE,
            "head_dim": 10,
            "query_pre_attn_scalar": 10,
            "sliding_window": 6,
            "layer_types": [SLIDING, SLIDING, FULL],
            "final_logit_softcapping": 4.0,
            "tie_word_embeddings": False,
            "rope_parameters": {FULL: GLOBAL_ROPE, SLIDING: LOCAL_ROPE},
        },
    ),
    "olmo2-norms": Checkpoint(
        "olmo2",
        "norms after attention and MLP only, q and k norms over all heads at once, older keys",
        {**SMALL, "num_key_value_heads": 4, "rope_parameters": DEFAULT_ROPE},
        older={"rope_parameters": None, "rope_theta": 700.0, "num_key_value_heads": None},
    ),
    "olmo2-grouped": Checkpoint(
        "olmo2",
        "grouped keys and values (k norm narrower than q norm), tied, linear scaling, three shards",
        {
            **SMALL,
            **THREE,
            "tie_word_embeddings": True,
            "rope_parameters": rope("linear", factor=2.0),
        },
        shards="24KB",
    ),
    "phi3-window": Checkpoint(
        "phi3",
        "joined q/k/v and gate/up, window of 6, half of each head rotated",
        {
            **SMALL,
            "hidden_size": 32,
            "sliding_window": 6,
            "rope_parameters": {**DEFAULT_ROPE, "partial_rotary_factor": 0.5},
        },
    ),
    "phi3-longrope": Checkpoint(
        "phi3",
        "longrope; prompts on both sides of 12 positions, where long_factor begins; grouped, tied",
        {
            **SMALL,
            **THREE,
            "original_max_position_embeddings": 12,
            "tie_word_embeddings": True,
            "rope_parameters": rope("longrope", **LONG_FACTORS),
        },
        older={
            "rope_parameters": None,
            "rope_theta": 700.0,
            "rope_scaling": {"type": "longrope", **LONG_FACTORS},
        },
    ),
    "gptj-partial": Checkpoint(
        "gptj",
        "neighbouring dimensions rotated, 4 of 8; one norm for attention and MLP; output bias",
        {**GPT2, "n_layer": 2, "rotary_dim": 4, "n_inner": 38},
    ),
    "gptj-full": Checkpoint(
        "gptj",
        "whole heads rotated, MLP of 4 D, ReLU, three shards",
        {**GPT2, "n_layer": 2, "rotary_dim": 8, "activation_function": "relu"},
        shards="32KB",
    ),
    "opt-relu": Checkpoint(
        "opt",
        "ReLU, learned positions from row 2 on, biases, tied",
        {**OPT, "num_attention_heads": 3, "max_position_embeddings": 32},
    ),
    "opt-gelu": Checkpoint(
        "opt",
        "GELU, no biases of the matrices, unembedding of its own",
        {
            **OPT,
            **THREE,
            "max_position_embeddings": 32,
            "activation_function": "gelu",
            "enable_bias": False,
            "tie_word_embeddings": False,
        },
    ),
}
