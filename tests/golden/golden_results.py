"""Results of the references as the goldens list them: flat over all targets, in both precisions."""

import numpy as np
import reference_sweep as sweep
from golden_files import DIGITS, HERE, rounded

CHECKPOINTS = ("llama-random", "llama-random-sharded", "gpt2-random")
RANDOM_PROMPTS = {"gpt2-random": "random_gpt2.jsonl"}  # the others share random_llama.jsonl
DTYPES = ("float32", "float64")
SHORT = {"float32": "fp32", "float64": "fp64"}


def read_prompts(name):
    return sweep.read_prompts(HERE / "prompts" / name)


def flat(results, prompts, metric):
    """A metric over all targets of all prompts, in file order."""
    return [row[metric] for prompt in prompts for row in results[prompt.index]]


def flat_logits(results, prompts):
    return [v for row in flat(results, prompts, "logits") for v in row]


def base_block(references, prompts, which=sweep.clean_tokens):
    """Base metrics in both precisions, and how far apart they are."""
    block, measured = {}, {}
    raw = {}
    for dtype, reference in references.items():
        results = sweep.base(reference, prompts, which)
        values = {m: flat(results, prompts, m) for m in ("loss", "logsumexp", "vocab_mean")}
        values["logits"] = flat(results, prompts, "logits")
        raw[dtype] = values
        block[SHORT[dtype]] = rounded(values, DIGITS[dtype])
        for name in ("top1", "answer_rank"):
            found = flat(results, prompts, name)
            assert block.setdefault(name, found) == found, f"{name} depends on the precision"
    for name, exact in raw["float64"].items():
        both = zip(leaves(raw["float32"][name]), leaves(exact), strict=True)
        measured[name] = rounded(max(abs(a - b) for a, b in both), 3)
    return block, measured


def leaves(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple, np.ndarray)):
        for one in value:
            yield from leaves(one)
    elif value is not None:
        yield float(value)


def targets_of(prompts):
    return {
        "prompt": [prompt.index for prompt in prompts for _ in prompt.targets],
        "at": [target.at for prompt in prompts for target in prompt.targets],
        "tracked": [target.tracked() for prompt in prompts for target in prompt.targets],
    }
