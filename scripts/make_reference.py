#!/usr/bin/env python3
"""Writes what transformers says of a model, for `mechsweep inspect --certify --reference`.

    scripts/install_deps.sh --references
    .deps/references/bin/python scripts/make_reference.py MODEL OUT.json [options]

MODEL is a Hugging Face folder or a GGUF file. The model runs with eager attention on a few random
prompts of ordinary tokens; the file gets their tokens and, at every position, the logits of a fixed
sample of tokens and of the largest ones, the logarithm of the sum of exponentials, and the loss of
the next token; how much losses change with single heads at zero (their share of what goes into the
attention's output projection); and how far all of this moves when the model computes in another
type. Heads whose change moves by more than 2e-5 nats between float32 and float64 are left out:
they amplify rounding, and two sound programs may differ there. The file names the SHA-256 of the
model's files and the versions that made it.
"""

import argparse
import copy
import hashlib
import json
import math
import platform
import random
import sys
from importlib.metadata import version
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging

PROJECTIONS = ("o_proj", "c_proj", "out_proj", "dense")  # attention's last matrix, by family
LENGTHS = (8, 13, 20)
SAMPLE, TOP = 16, 8
STEADY = 2e-5  # nats
DIGITS = 9


def arguments():
    summary = __doc__.split("\n", maxsplit=1)[0]
    parser = argparse.ArgumentParser(description=summary)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--prompts", type=Path, help="JSON lines with `tokens`, instead of random")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float64")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--heads", type=int, default=64, help="heads to zero, spread over layers")
    parser.add_argument("--no-spread", action="store_true", help="compute in one type only")
    return parser.parse_args()


def files_of(model):
    """Every file that can decide a logit, with its SHA-256."""
    if model.is_dir():
        paths = sorted(model.glob("*.safetensors")) + sorted(model.glob("*.safetensors.index.json"))
        paths.append(model / "config.json")
    else:
        paths = [model]
    found = []
    for path in paths:
        with path.open("rb") as file:
            found.append(
                {"name": path.name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
            )
    return found


def load(model):
    place = {"pretrained_model_name_or_path": model}
    if not model.is_dir():
        place = {"pretrained_model_name_or_path": model.parent, "gguf_file": model.name}
    keywords = {"dtype": torch.float32, "attn_implementation": "eager"}
    return AutoModelForCausalLM.from_pretrained(**place, **keywords).eval()


def as_type(model, dtype):
    """A copy with weights of another type. Rotary tables and the like stay as they are."""
    copied = copy.deepcopy(model)
    for parameter in copied.parameters():
        parameter.data = parameter.data.to(getattr(torch, dtype))
    return copied


def projections(model):
    """The last matrix of each layer's attention."""
    found = []
    for name, module in model.named_modules():
        if not type(module).__name__.endswith("Attention"):
            continue
        names = [one for one in PROJECTIONS if hasattr(module, one)]
        if len(names) != 1:
            sys.exit(f"make_reference.py: {name} has no single output projection: {names}")
        found.append(getattr(module, names[0]))
    if len(found) != model.config.num_hidden_layers:
        sys.exit(f"make_reference.py: found {len(found)} blocks of attention")
    return found


def random_prompts(config, seed):
    """Ids below the vocabulary that are no special ones, after the one that prompts begin with."""
    vocab = config.vocab_size
    special = set()
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        ids = getattr(config, name, None)
        special.update(ids if isinstance(ids, list) else [ids])
    generator = random.Random(seed)
    longest = getattr(config, "max_position_embeddings", None) or max(LENGTHS)
    # Some models are only themselves after their first token.
    first = [config.bos_token_id] if isinstance(config.bos_token_id, int) else []
    prompts = []
    for length in LENGTHS:
        tokens = list(first)
        while len(tokens) < min(length, longest):
            token = generator.randrange(vocab)
            if token not in special:
                tokens.append(token)
        prompts.append(tokens)
    return prompts


def given_prompts(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["tokens"] for line in lines if line.strip()]


@torch.no_grad()
def logits_of(model, tokens, layer=None, head=None):
    """[position, token] in double precision, of the model with one head at zero if one is named."""

    def clear(_, inputs):
        z = inputs[0].clone()
        size = z.shape[-1] // model.config.num_attention_heads
        z[..., head * size : (head + 1) * size] = 0.0
        return (z, *inputs[1:])

    handle = layer.register_forward_pre_hook(clear) if layer is not None else None
    try:
        output = model(torch.tensor([tokens]), use_cache=False)
    finally:
        if handle:
            handle.remove()
    return output.logits[0].double()


def losses(logits, tokens):
    """Of every next token, nats."""
    following = torch.tensor(tokens[1:])
    return torch.logsumexp(logits[:-1], -1) - logits[:-1].gather(1, following[:, None])[:, 0]


def chosen_heads(model, count):
    """(layer, head): as many in every layer as `count` allows, at least one, shifted by layer."""
    layers, heads = model.config.num_hidden_layers, model.config.num_attention_heads
    each = max(1, min(heads, count // layers))
    return [(i, (i + j * heads // each) % heads) for i in range(layers) for j in range(each)]


def numbers_of(model, prompts, heads, sample):
    """The prompts' and heads' entries of the file, with tensors as values."""
    blocks = projections(model)
    entries, changes = [], []
    for tokens in prompts:
        logits = logits_of(model, tokens)
        top = torch.topk(logits, min(TOP, logits.shape[-1]), dim=-1)
        entries.append(
            {
                "tokens": tokens,
                "loss": losses(logits, tokens),
                "logsumexp": torch.logsumexp(logits, -1),
                "logits": logits[:, sample],
                "top": [
                    {"tokens": ids, "logits": values}
                    for ids, values in zip(top.indices, top.values, strict=True)
                ],
                "all": logits,
            }
        )
    short = min(range(len(prompts)), key=lambda p: len(prompts[p]))
    for layer, head in heads:
        logits = logits_of(model, prompts[short], blocks[layer], head)
        delta = losses(logits, prompts[short]) - entries[short]["loss"]
        changes.append({"prompt": short, "layer": layer, "head": head, "delta_loss": delta})
    return entries, changes


def spread_of(ours, theirs):
    """The largest differences between two sets of numbers; logits in units of the largest one."""
    largest = max(entry["all"].abs().max().item() for entry in ours[0])

    def worst(name, which):
        pairs = zip(ours[which], theirs[which], strict=True)
        return max(((a[name] - b[name]).abs().max().item() for a, b in pairs), default=0.0)

    return {
        "logits": worst("all", 0) / largest,
        "loss": max(worst("loss", 0), worst("logsumexp", 0)),
        "delta_loss": worst("delta_loss", 1),
    }


def plain(value):
    """Tensors as lists, numbers with as many digits as fp32 has."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items() if key != "all"}
    if isinstance(value, list):
        return [plain(one) for one in value]
    if isinstance(value, torch.Tensor):
        return plain(value.tolist())
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def measure_spread(model, options, numbers, heads, sample):
    """What the file says of other types; and `numbers` without the heads that are not steady."""
    entries, changes = numbers
    prompts = [entry["tokens"] for entry in entries]
    other = "float32" if options.dtype == "float64" else "float64"
    alike = numbers_of(as_type(model, other), prompts, heads, sample)
    pairs = zip(changes, alike[1], strict=True)
    steady = [bool((a["delta_loss"] - b["delta_loss"]).abs().max() <= STEADY) for a, b in pairs]

    def kept(items):
        return [item for item, keep in zip(items, steady, strict=True) if keep]

    numbers = entries, kept(changes)
    spread = {"float32": spread_of(numbers, (alike[0], kept(alike[1])))}
    for dtype in ("bfloat16", "float16"):
        narrow = numbers_of(as_type(model, dtype), prompts, kept(heads), sample)
        differences = spread_of(numbers, narrow)
        if all(map(math.isfinite, differences.values())):  # float16 overflows in some models
            spread[dtype] = differences
    return {"spread": spread, "unsteady_heads": len(heads) - sum(steady)}, numbers


def main():
    options = arguments()
    logging.disable_progress_bar()
    model = load(options.model.resolve())
    config = model.config
    prompts = given_prompts(options.prompts) if options.prompts else None
    prompts = prompts or random_prompts(config, options.seed)
    generator = random.Random(options.seed + 1)
    sample = sorted(generator.sample(range(config.vocab_size), min(SAMPLE, config.vocab_size)))
    heads = chosen_heads(model, options.heads)
    numbers = numbers_of(as_type(model, options.dtype), prompts, heads, sample)
    measured = {}
    if not options.no_spread:
        measured, numbers = measure_spread(model, options, numbers, heads, sample)
    shape = {"layers": config.num_hidden_layers, "heads": config.num_attention_heads}
    content = {
        "format": "mechsweep-reference",
        "format_version": 1,
        "made_by": {
            "script": "scripts/make_reference.py",
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "transformers", "safetensors", "gguf")},
        },
        "dtype": options.dtype,
        "shape": shape | {"vocab": config.vocab_size},
        "files": files_of(options.model.resolve()),
        "sample": sample,
        "prompts": numbers[0],
        "heads": numbers[1],
    } | measured
    lines = [f" {json.dumps(k)}: {json.dumps(plain(v))}" for k, v in content.items()]
    options.out.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print(f"{options.out}: {options.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
