"""Writes small random checkpoints of every architecture through transformers.

    python architecture_checkpoints.py [NAME ...]

architecture_configs.py lists them. Weights are large; make_random_checkpoints.py says why.
"""

import json
import sys
from pathlib import Path

import torch
from architecture_configs import CHECKPOINTS
from make_random_checkpoints import CHECKPOINTS as FOLDER
from make_random_checkpoints import write
from transformers import AutoConfig, AutoModelForCausalLM

TOKENS = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": None}


def randomise(model, seed):
    """Weights as in make_random_checkpoints; norm weights vary around their family's neutral value
    (the one that a fresh model has: 0 for Gemma, 1 elsewhere)."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(model.named_parameters()):
        drawn = torch.randn(parameter.shape, generator=generator)
        is_norm = "norm" in name or ".ln_" in name
        if is_norm and name.endswith("weight"):
            neutral = parameter.data.flatten()[0].item()
            assert neutral in (0.0, 1.0) and (parameter.data == neutral).all(), name
            drawn = neutral + 0.2 * drawn
        elif name.endswith("bias"):
            drawn = 0.2 * drawn
        elif any(part in name for part in ("embed", "wte", "wpe")):
            drawn = 0.5 * drawn
        else:
            drawn = 0.25 * drawn
        parameter.data.copy_(drawn)


def respell(folder, older):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    for key, value in older.items():
        config.pop(key, None)
        if value is not None:
            config[key] = value
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def _meaning(config):
    """What a config says once it is read, whatever its spelling, as {key: text}."""
    idle = ("architectures", "dtype", "_name_or_path", "transformers_version", "max_window_layers")
    idle += ("_sliding_window_pattern", "sliding_window_pattern")  # layer_types says the same
    said = {key: value for key, value in config.to_dict().items() if key not in idle}
    if said.get("rope_parameters"):
        named = said["rope_parameters"].items()
        said["rope_parameters"] = {key: value for key, value in named if key != "type"}
    return {key: json.dumps(value, sort_keys=True) for key, value in said.items()}


def make(name, seed):
    checkpoint, folder = CHECKPOINTS[name], FOLDER / name
    config = AutoConfig.for_model(checkpoint.kind, **checkpoint.config, **TOKENS)
    model = AutoModelForCausalLM.from_config(config)
    randomise(model, seed)
    keywords = {"max_shard_size": checkpoint.shards} if checkpoint.shards else {}
    write(model.to(checkpoint.dtype), folder, **keywords)
    respell(folder, checkpoint.older)
    again = AutoModelForCausalLM.from_pretrained(folder, dtype=checkpoint.dtype)
    kept, found = _meaning(config), _meaning(again.config)
    assert kept == found, f"{name}: the config is read differently: {kept.items() ^ found.items()}"
    for (key, one), (_, other) in zip(
        model.state_dict().items(), again.state_dict().items(), strict=True
    ):
        assert torch.equal(one, other), f"{name}: {key} came back changed"
    size = sum(path.stat().st_size for path in Path(folder).iterdir())
    print(f"{name}: {size} bytes", flush=True)


def main():
    for order, name in enumerate(CHECKPOINTS):
        if len(sys.argv) == 1 or name in sys.argv[1:]:
            make(name, 100 + order)


if __name__ == "__main__":
    main()
