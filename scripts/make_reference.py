#!/usr/bin/env python3
"""Writes what transformers says of a model, for `mechsweep inspect --certify --reference`.

    scripts/install_deps.sh --references
    .deps/references/bin/python scripts/make_reference.py MODEL OUT.json [options]

MODEL is a Hugging Face folder or a GGUF file. The model runs with eager attention on a few random
prompts of ordinary tokens, one of them longer than its sliding window and the context before which
rotary positions are not scaled, where 1,100 tokens in all suffice (`not_exercised` in the file
lists what they leave out). The file gets their tokens and, at every position, the logits of a fixed
sample of tokens, the logarithm of the sum of exponentials and the loss of the next token; the
largest logits, at all positions of short prompts and the last ones of long prompts; how much losses
change with single heads at zero (their share of what goes into the attention's output projection);
and how far all of this moves when the model computes in another type. Heads whose change moves by
more than 2e-5 nats between float32 and float64 are left out: they amplify rounding, and two sound
programs may differ there. The file names the SHA-256 of the model's files and the versions that
made it. Exit status 3: the model or the prompts cannot be used, and nothing was written.
"""

import argparse
import copy
import json
import math
import os
import platform
import random
import sys
from importlib.metadata import version
from pathlib import Path

from reference_inputs import (
    Refusal,
    boundaries_of,
    check_model,
    check_output,
    files_of,
    first_line,
    given_prompts,
    not_exercised,
    random_prompts,
    write_whole,
)

PROJECTIONS = ("o_proj", "c_proj", "out_proj", "dense")  # attention's last matrix, by family
SAMPLE, TOP = 16, 8
LONG = 64  # tokens; of longer prompts the file has fewer numbers at each position
LONG_SAMPLE, LONG_TOP = 4, 8  # logits at each position, and positions with the largest logits
STEADY = 2e-5  # nats
DIGITS = 9


def arguments():
    def count(text):
        if int(text) < 1:
            raise ValueError
        return int(text)

    summary = __doc__.split("\n", maxsplit=1)[0]
    parser = argparse.ArgumentParser(description=summary)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--prompts", type=Path, help="JSON lines with `tokens`, instead of random")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float64")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--heads", type=count, default=64, help="heads to zero, over all layers")
    parser.add_argument("--no-spread", action="store_true", help="compute in one type only")
    parser.add_argument(
        "--stands-for",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="another file with the same weights, a GGUF made from MODEL say, for which mechsweep "
        "is to take the reference too",
    )
    return parser.parse_args()


def load(model):
    os.environ.setdefault("TQDM_DISABLE", "1")  # bars that transformers' own switch leaves on
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    place = {"pretrained_model_name_or_path": model}
    if not model.is_dir():
        place = {"pretrained_model_name_or_path": model.parent, "gguf_file": model.name}
    keywords = {"dtype": torch.float32, "attn_implementation": "eager", "local_files_only": True}
    try:
        loaded, info = AutoModelForCausalLM.from_pretrained(
            **place, **keywords, output_loading_info=True
        )
    except Exception as error:  # of any type: transformers has none of its own
        raise Refusal(f"{model}: transformers cannot load it: {first_line(error)}") from error
    missing = sorted(info["missing_keys"])
    if missing:  # transformers would make these up at random
        raise Refusal(f"{model}: transformers finds no weights for {', '.join(missing[:3])}")
    return loaded.eval()


def as_type(model, dtype):
    """A copy with weights of another type. Rotary tables and the like stay as they are."""
    import torch

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
            raise Refusal(f"{name} has no single output projection that this script knows")
        found.append(getattr(module, names[0]))
    if len(found) != model.config.num_hidden_layers:
        raise Refusal(f"found {len(found)} attentions in {model.config.num_hidden_layers} layers")
    return found


def forget_earlier_prompts(model):
    """Makes rotary frequencies anew. With scaling of type `dynamic`, transformers otherwise goes on
    with those of the longest prompt so far, so that numbers would depend on the order of passes."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child).__name__.endswith("RotaryEmbedding"):
                setattr(parent, name, type(child)(child.config))


def logits_of(model, tokens, layer=None, head=None):
    """[position, token] in double precision, of the model with one head at zero if one is named."""
    import torch

    def clear(_, inputs):
        z = inputs[0].clone()
        size = z.shape[-1] // model.config.num_attention_heads
        z[..., head * size : (head + 1) * size] = 0.0
        return (z, *inputs[1:])

    forget_earlier_prompts(model)
    handle = layer.register_forward_pre_hook(clear) if layer is not None else None
    try:
        with torch.no_grad():
            output = model(torch.tensor([tokens]), use_cache=False)
    except (RuntimeError, ValueError, IndexError) as error:
        count = len(tokens)
        message = f"transformers fails on a prompt of {count} tokens: {first_line(error)}"
        raise Refusal(message) from error
    finally:
        if handle:
            handle.remove()
    return output.logits[0].double()


def losses(logits, tokens):
    """Of every next token, nats."""
    import torch

    following = torch.tensor(tokens[1:])
    return torch.logsumexp(logits[:-1], -1) - logits[:-1].gather(1, following[:, None])[:, 0]


def chosen_heads(config, count, prompts):
    """(prompt, layer, head): in the shortest prompt as many in every layer as `count` allows, at
    least one, shifted by layer; in the longest one of the first layer and one of the last."""
    layers, heads = config.num_hidden_layers, config.num_attention_heads
    by_length = sorted(range(len(prompts)), key=lambda p: len(prompts[p]))
    short, long = by_length[0], by_length[-1]
    each = max(1, min(heads, count // layers))
    chosen = [
        (short, i, (i + j * heads // each) % heads) for i in range(layers) for j in range(each)
    ]
    if len(prompts[long]) > len(prompts[short]):
        chosen += [(long, layer, layer % heads) for layer in sorted({0, layers - 1})]
    return chosen


def prompt_numbers(logits, tokens, sample):
    """One prompt's entry of the file, with tensors as values. `rows` are whole rows of logits,
    which are not written: all of a short prompt, the last ones of a long prompt."""
    import torch

    begin = max(0, len(tokens) - LONG_TOP) if len(tokens) > LONG else 0
    rows = logits[begin:].clone()
    top = torch.topk(rows, min(TOP, rows.shape[-1]), dim=-1)
    return {
        "tokens": tokens,
        "loss": losses(logits, tokens),
        "logsumexp": torch.logsumexp(logits, -1),
        "logits": logits[:, sample],
        "top": [{"tokens": [], "logits": []}] * begin
        + [
            {"tokens": ids, "logits": values}
            for ids, values in zip(top.indices, top.values, strict=True)
        ],
        "rows": rows,
    }


def numbers_of(model, prompts, heads, sample):
    """The prompts' and heads' entries of the file."""
    blocks = projections(model)
    entries = [prompt_numbers(logits_of(model, one), one, sample) for one in prompts]
    changes = []
    for prompt, layer, head in heads:
        logits = logits_of(model, prompts[prompt], blocks[layer], head)
        delta = losses(logits, prompts[prompt]) - entries[prompt]["loss"]
        changes.append({"prompt": prompt, "layer": layer, "head": head, "delta_loss": delta})
    return entries, changes


def check_finite(numbers, dtype):
    entries, changes = numbers
    for p, entry in enumerate(entries):
        if not all(entry[name].isfinite().all() for name in ("loss", "logsumexp", "rows")):
            raise Refusal(f"in {dtype} the model gives NaN or infinite numbers on prompt {p}")
    for change in changes:
        if not change["delta_loss"].isfinite().all():
            raise Refusal(
                f"in {dtype} the model gives NaN or infinite numbers without head "
                f"{change['head']} of layer {change['layer']}"
            )


def spread_of(ours, theirs):
    """The largest differences between two sets of numbers; logits in units of the largest one."""
    largest = max(entry["rows"].abs().max().item() for entry in ours[0]) or 1.0

    def worst(name, which):
        pairs = zip(ours[which], theirs[which], strict=True)
        return max(((a[name] - b[name]).abs().max().item() for a, b in pairs), default=0.0)

    return {
        "logits": max(worst("rows", 0), worst("logits", 0)) / largest,
        "loss": max(worst("loss", 0), worst("logsumexp", 0)),
        "delta_loss": worst("delta_loss", 1),
    }


def plain(value):
    """Tensors as lists, numbers with as many digits as fp32 has."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items() if key != "rows"}
    if isinstance(value, list):
        return [plain(one) for one in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def measure_spread(model, options, numbers, heads, sample):
    """What the file says of other types; and `numbers` without the heads that are not steady."""
    entries, changes = numbers
    prompts = [entry["tokens"] for entry in entries]
    other = "float32" if options.dtype == "float64" else "float64"
    alike = numbers_of(as_type(model, other), prompts, heads, sample)
    check_finite(alike, other)
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


def content_of(options, model, prompts, files):
    config = model.config
    most = LONG_SAMPLE if max(map(len, prompts)) > LONG else SAMPLE
    generator = random.Random(options.seed + 1)
    sample = sorted(generator.sample(range(config.vocab_size), min(most, config.vocab_size)))
    heads = chosen_heads(config, options.heads, prompts)
    numbers = numbers_of(as_type(model, options.dtype), prompts, heads, sample)
    check_finite(numbers, options.dtype)
    measured = {}
    if not options.no_spread:
        measured, numbers = measure_spread(model, options, numbers, heads, sample)
    shape = {"layers": config.num_hidden_layers, "heads": config.num_attention_heads}
    return {
        "format": "mechsweep-reference",
        "format_version": 1,
        "made_by": {
            "script": "scripts/make_reference.py",
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "transformers", "safetensors", "gguf")},
        },
        "dtype": options.dtype,
        "shape": shape | {"vocab": config.vocab_size},
        "files": files,
        "not_exercised": not_exercised(boundaries_of(config), [len(one) for one in prompts]),
        "sample": sample,
        "prompts": numbers[0],
        "heads": numbers[1],
    } | measured


def make(options):
    check_model(options.model)
    check_output(options.out)
    path = options.model.resolve()
    files = files_of(path, options.stands_for)
    model = load(path)
    try:
        if options.prompts:
            prompts = given_prompts(options.prompts, model.config)
        else:
            prompts = random_prompts(model.config, options.seed)
        content = content_of(options, model, prompts, files)
    except Refusal as refusal:
        if options.prompts and str(refusal).startswith(str(options.prompts)):
            raise
        raise Refusal(f"{options.model}: {refusal}") from refusal
    lines = [
        f" {json.dumps(k)}: {json.dumps(plain(v), allow_nan=False)}" for k, v in content.items()
    ]
    write_whole(options.out, "{\n" + ",\n".join(lines) + "\n}\n")
    print(f"{options.out}: {options.out.stat().st_size} bytes")
    if content["not_exercised"]:
        print(f"No prompt is long enough to exercise: {'; '.join(content['not_exercised'])}.")


def main():
    try:
        make(arguments())
    except Refusal as refusal:
        print(f"make_reference.py: {refusal}", file=sys.stderr)
        return 3
    except ModuleNotFoundError as error:
        hint = "scripts/install_deps.sh --references installs what this script needs"
        print(f"make_reference.py: {error}; {hint}", file=sys.stderr)
        return 3
    except OSError as error:
        print(f"make_reference.py: {error}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
