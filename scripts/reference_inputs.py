"""What make_reference.py is given: files, prompts, and what of a config prompts have to reach.

Nothing here needs torch or transformers.
"""

import hashlib
import json
import random
from pathlib import Path

LENGTHS = (8, 13, 20)
BEYOND = 8  # tokens that a long prompt has past the last boundary
MOST_RANDOM = 1100  # tokens of random prompts together: a few seconds for a small model
MOST_TOKENS = 90_000  # mechsweep reads 100,000 at most, those of edited passes included


class Refusal(Exception):
    """One sentence for the user; what is asked for cannot be done with this input."""


def first_line(error):
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__


# --------------------------------------------------------------------------------------- the files


def check_model(model):
    """Refuses what no reference can be made from, before anything slow is done."""
    if not model.exists():
        raise Refusal(f"{model}: no such file or folder")
    if not model.is_dir():
        check_gguf(model)
        return
    if not (model / "config.json").is_file():
        raise Refusal(f"{model}: has no config.json")
    if not any(model.glob("*.safetensors")):
        raise Refusal(f"{model}: has no *.safetensors files")


def check_gguf(path):
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise Refusal(f"{path}: is neither a folder nor a GGUF file")
    names = gguf_tensors(path)
    if "token_embd.weight" not in names:  # transformers would make up a large model at random
        raise Refusal(f"{path}: is no language model: it has no tensor token_embd.weight")
    if "rope_freqs.weight" in names:
        raise Refusal(
            f"{path}: has a tensor rope_freqs.weight, which transformers ignores; make the "
            f"reference from the folder that the file was made from, with --stands-for {path.name}"
        )


def gguf_tensors(path):
    from gguf import GGUFReader

    try:
        return {tensor.name for tensor in GGUFReader(path).tensors}
    except Exception as error:  # the reader fails in many ways on files that are cut or damaged
        raise Refusal(f"{path}: the gguf package cannot read it: {first_line(error)}") from error


def check_output(out):
    if not out.parent.is_dir():
        raise Refusal(f"{out}: the folder {out.parent} does not exist")
    if out.is_dir():
        raise Refusal(f"{out}: is a folder, not a file to write")


def files_of(model, others=()):
    """Every file that can decide a logit, and those that the reference is to serve as well, with
    SHA-256. mechsweep takes a reference that knows the content of all files of its model."""
    if model.is_dir():
        paths = sorted(model.glob("*.safetensors")) + sorted(model.glob("*.safetensors.index.json"))
        paths.append(model / "config.json")
    else:
        paths = [model]
    found = []
    for path in [*paths, *others]:
        if not path.is_file():
            raise Refusal(f"{path}: no such file")
        with path.open("rb") as file:
            found.append(
                {"name": path.name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
            )
    return found


def write_whole(out, text):
    """The file appears with all of its content or not at all."""
    part = Path(f"{out}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)


# ------------------------------------------------------------------------------------- the config


def rope_maps(config):
    """The settings of rotary positions: one map, or one for each type of layer."""
    settings = getattr(config, "rope_parameters", None) or {}
    nested = [one for one in settings.values() if isinstance(one, dict)]
    return nested or [settings]


def context_of(config):
    """Tokens that a prompt may have, by mechsweep's rule; None without a limit. Scaling of type
    `dynamic` is for prompts beyond the context that the config names."""
    named = getattr(config, "max_position_embeddings", None)
    if not named:
        return None
    factors = [one["factor"] for one in rope_maps(config) if one.get("rope_type") == "dynamic"]
    return max(named, int(min(factors) * named)) if factors else named


def boundaries_of(config):
    """(length, what only longer prompts exercise), for all that the context leaves room for.
    Scaling of types linear, llama3 and yarn is the same at any length."""
    found = []
    window, types = getattr(config, "sliding_window", None), getattr(config, "layer_types", None)
    if window and (not types or "sliding_attention" in types):
        found.append((window, f"sliding window of {window}"))
    for one in rope_maps(config):
        kind = one.get("rope_type")
        length = None
        if kind == "dynamic":
            length = config.max_position_embeddings
        elif kind == "longrope":
            name = "original_max_position_embeddings"
            length = one.get(name) or getattr(config, name, None)
        if length:
            found.append((length, f"{kind} scaling of rotary positions above {length} tokens"))
    longest = context_of(config)
    return sorted({one for one in found if longest is None or one[0] < longest})


def not_exercised(boundaries, lengths):
    return [what for length, what in boundaries if length >= max(lengths)]


# ------------------------------------------------------------------------------------- the prompts


def prompt_lengths(boundaries, longest):
    """Short ones, and a long one if only that crosses a boundary which it can afford to cross."""
    lengths = sorted({min(length, longest or length) for length in LENGTHS})
    most = MOST_RANDOM - sum(lengths)
    most = min(most, longest) if longest else most
    within = [length for length, _ in boundaries if lengths[-1] <= length < most]
    return [*lengths, min(within[-1] + BEYOND, most)] if within else lengths


def special_ids(config):
    special = set()
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        ids = getattr(config, name, None)
        special.update(ids if isinstance(ids, list) else [ids])
    return special


def random_prompts(config, seed):
    """Ids that are no special ones if there are any, after the one that prompts begin with."""
    longest = context_of(config)
    if longest == 1:
        raise Refusal("the context is one token long: no token follows that a loss could be of")
    special = special_ids(config)
    ordinary = any(token not in special for token in range(config.vocab_size))
    generator = random.Random(seed)
    # Some models are only themselves after their first token.
    begin = config.bos_token_id if isinstance(config.bos_token_id, int) else -1
    first = [begin] if 0 <= begin < config.vocab_size else []
    prompts = []
    for length in prompt_lengths(boundaries_of(config), longest):
        tokens = list(first)
        while len(tokens) < length:
            token = generator.randrange(config.vocab_size)
            if not ordinary or token not in special:
                tokens.append(token)
        prompts.append(tokens)
    return prompts


def given_prompts(path, config):
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise Refusal(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Refusal(f"{path}: is not UTF-8") from error
    prompts = [
        tokens_of(line, f"{path}:{number}", config)
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]
    if not prompts:
        raise Refusal(f"{path}: has no prompts")
    if sum(map(len, prompts)) > MOST_TOKENS:
        raise Refusal(f"{path}: has more than {MOST_TOKENS} tokens")
    return prompts


def tokens_of(line, place, config):
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Refusal(f"{place}: is no JSON: {first_line(error)}") from error
    tokens = record.get("tokens") if isinstance(record, dict) else None
    if not isinstance(tokens, list):
        raise Refusal(
            f"{place}: has no list `tokens` of ids; `mechsweep prompts CONFIG` prints prompts so"
        )
    for token in tokens:
        if type(token) is not int or not 0 <= token < config.vocab_size:
            shown = json.dumps(token)[:40]
            raise Refusal(f"{place}: {shown} is no id from 0 to {config.vocab_size - 1}")
    if len(tokens) < 2:
        raise Refusal(f"{place}: a prompt needs two tokens at least: losses are of next tokens")
    longest = context_of(config)
    if longest and len(tokens) > longest:
        raise Refusal(
            f"{place}: has {len(tokens)} tokens, but the context is {longest} tokens long"
        )
    return tokens
