"""Writes the goldens of this folder: what other software says about the same inputs.

    python make_goldens.py --gguf SmolLM2-135M-Instruct.Q4_1.gguf [PART ...]

Parts, in the order in which they have to run the first time: dequant, safetensors, tokenizers,
prompts, random, smollm2_tensors, smollm2_base, smollm2_scores, smollm2_head_ablation. Without any,
all of them. README.md says what each file holds. The parts are in the modules golden_*.py.
"""

import argparse
from pathlib import Path

import torch
from golden_formats import make_dequant, make_safetensors
from golden_prompts import make_prompts
from golden_random import make_random
from golden_smollm2 import (
    make_smollm2_base,
    make_smollm2_head_ablation,
    make_smollm2_scores,
    make_smollm2_tensors,
)
from golden_tokenizers import make_tokenizers

PARTS = {
    "dequant": make_dequant,
    "safetensors": make_safetensors,
    "tokenizers": make_tokenizers,
    "prompts": make_prompts,
    "random": make_random,
    "smollm2_tensors": make_smollm2_tensors,
    "smollm2_base": make_smollm2_base,
    "smollm2_scores": make_smollm2_scores,
    "smollm2_head_ablation": make_smollm2_head_ablation,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--gguf", type=Path, help="SmolLM2-135M-Instruct.Q4_1.gguf")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    unknown = set(arguments.parts) - set(PARTS)
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    for part in arguments.parts or PARTS:
        PARTS[part](arguments)


if __name__ == "__main__":
    main()
