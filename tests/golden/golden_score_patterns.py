"""Attention patterns of random checkpoints on prompts with copies of several lags, from
transformers in fp32: what tests/system/test_scores.py makes every score from, by its definition.

    python golden_score_patterns.py
"""

import random

import torch
from golden_files import HERE, made_by, rounded, write_json, write_lines
from transformers import AutoModelForCausalLM

CHECKPOINTS = ("gpt2-random", "gpt-neox-parallel", "llama-random")
LARGEST_TOKEN = 49


def repeated(generator, period, length):
    """A prefix, then `period` distinct tokens again and again."""
    words = generator.sample(range(1, LARGEST_TOKEN), period)
    return [0, *(words[i % period] for i in range(length - 1))]


def mixed(generator, pool, length):
    """Tokens drawn with replacement: copies of many lags."""
    words = generator.sample(range(1, LARGEST_TOKEN), pool)
    return [generator.choice(words) for _ in range(length)]


def make_prompts():
    generator = random.Random(20)
    return [
        {"tokens": repeated(generator, 5, 16), "prefix_length": 1, "template": "lag5"},
        {
            "tokens": mixed(generator, 8, 20),
            "pairs": {"chosen": [[7, 2], [7, 7], [19, 0]]},
            "template": "mixed",
        },
        {"tokens": repeated(generator, 2, 15), "prefix_length": 1, "template": "lag2"},
        {"tokens": mixed(generator, 30, 24), "template": "mixed"},
        {"tokens": repeated(generator, 1, 8), "prefix_length": 1, "template": "lag1"},
        {"tokens": repeated(generator, 7, 24), "prefix_length": 1, "template": "lag7"},
    ]


@torch.no_grad()
def patterns(name, prompts):
    """[prompt][layer][head][query][key], rows end at the query."""
    model = AutoModelForCausalLM.from_pretrained(
        HERE / "checkpoints" / name, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    found = []
    for prompt in prompts:
        output = model(torch.tensor([prompt["tokens"]]), output_attentions=True, use_cache=False)
        found.append(
            [
                [[row[: q + 1] for q, row in enumerate(head)] for head in layer[0].tolist()]
                for layer in output.attentions
            ]
        )
    return found


def main():
    prompts = make_prompts()
    write_lines("score_patterns.jsonl", prompts)
    content = {
        "made_by": made_by("torch", "transformers")
        | {"script": "tests/golden/golden_score_patterns.py"},
        "prompts": "prompts/score_patterns.jsonl",
        "note": "patterns: [prompt][layer][head][query][key], rows end at the query",
    }
    content["patterns"] = {name: rounded(patterns(name, prompts), 7) for name in CHECKPOINTS}
    write_json("score_patterns.json", content, 3)


if __name__ == "__main__":
    main()
