"""Writes the small random checkpoints of tests/golden/checkpoints through transformers.

    python make_random_checkpoints.py

They stand in for architectures whose weights cannot be fetched and for corners that real models
leave out: sizes that fit no vector register, head_dim * heads != hidden, biases everywhere,
several shards. Weights are drawn large on purpose: with the usual initialisation every effect
would drown in rounding.
"""

import json
import shutil
from pathlib import Path

import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

CHECKPOINTS = Path(__file__).resolve().parent / "checkpoints"


def randomise(model, seed):
    generator = torch.Generator().manual_seed(seed)

    def normal(parameter, mean, deviation):
        drawn = torch.randn(parameter.shape, generator=generator)
        parameter.data.copy_(mean + deviation * drawn)

    for name, parameter in sorted(model.named_parameters()):
        is_norm = "norm" in name or ".ln_" in name
        if is_norm and name.endswith("weight"):
            normal(parameter, 1.0, 0.2)
        elif name.endswith("bias"):
            normal(parameter, 0.0, 0.2)
        elif "embed_tokens" in name or "wte" in name or "wpe" in name:
            normal(parameter, 0.0, 0.5)
        else:
            normal(parameter, 0.0, 0.25)


def write(model, folder, **keywords):
    if folder.exists():
        shutil.rmtree(folder)
    model.save_pretrained(folder, **keywords)
    (folder / "generation_config.json").unlink(missing_ok=True)
    for path in folder.iterdir():
        path.chmod(0o644)


def older_keys(folder):
    """Rewrites a config to the keys that transformers 4 used and most published folders have."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["rope_theta"] = config.pop("rope_parameters")["rope_theta"]
    config["torch_dtype"] = config.pop("dtype")
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def main():
    torch.manual_seed(0)
    special = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": None}

    llama = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=101,
            hidden_size=32,
            intermediate_size=44,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=8,
            max_position_embeddings=64,
            rms_norm_eps=1e-5,
            rope_parameters={"rope_type": "default", "rope_theta": 500.0},
            tie_word_embeddings=False,
            **special,
        )
    )
    randomise(llama, 11)
    write(llama, CHECKPOINTS / "llama-random")
    older_keys(CHECKPOINTS / "llama-random")

    sharded = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=101,
            hidden_size=48,
            intermediate_size=52,
            num_hidden_layers=2,
            num_attention_heads=6,
            num_key_value_heads=3,
            head_dim=10,
            max_position_embeddings=64,
            rms_norm_eps=1e-6,
            rope_parameters={"rope_type": "default", "rope_theta": 3000.0},
            attention_bias=True,
            mlp_bias=True,
            tie_word_embeddings=True,
            **special,
        )
    )
    randomise(sharded, 12)
    write(sharded.to(torch.bfloat16), CHECKPOINTS / "llama-random-sharded", max_shard_size="40KB")

    gpt2 = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=97,
            n_positions=32,
            n_embd=36,
            n_layer=2,
            n_head=3,
            activation_function="gelu_new",
            **special,
        )
    )
    randomise(gpt2, 13)
    write(gpt2, CHECKPOINTS / "gpt2-random")


if __name__ == "__main__":
    main()
