"""Trains the two-layer model of checkpoints/tiny-induction and writes its golden.

    python train_tiny_induction.py train     a few minutes on two CPU threads; writes the checkpoint
    python train_tiny_induction.py golden    prompts/tiny_induction.jsonl and tiny-induction.json

The data are sequences of distinct random tokens that start to repeat after a random number of
tokens, behind a lead-in of random length. Neither the period nor the place where it starts can be
known in advance, so the only way to predict a repeated token is to look for the earlier copy of
the current token and read what followed it: a previous-token head in layer 0 that tells each
position what came before it, and an induction head in layer 1 that matches on that.
"""

import argparse
import json
import math
import random
from pathlib import Path

import numpy as np
import reference_sweep as sweep
import torch
from transformers import LlamaConfig, LlamaForCausalLM

HERE = Path(__file__).resolve().parent
CHECKPOINT = HERE / "checkpoints" / "tiny-induction"
GOLDEN = HERE / "tiny-induction.json"
PROMPTS = HERE / "prompts" / "tiny_induction.jsonl"

VOCAB = 64
PREFIX = 0  # content tokens are 1..63, so heads have a place to rest that means nothing
LENGTH = 61
PERIODS = (4, 24)
LEAD_IN = (0, 12)
INDUCTION_THRESHOLD = 0.4
EVAL_PERIOD = 24


def batch_of_sequences(generator, size):
    """Tokens [size, LENGTH] and the mask of positions whose successor is a copy of something."""
    tokens = torch.empty(size, LENGTH, dtype=torch.long)
    copyable = torch.zeros(size, LENGTH, dtype=torch.bool)
    for row in range(size):
        period = int(torch.randint(PERIODS[0], PERIODS[1] + 1, (), generator=generator))
        lead = int(torch.randint(LEAD_IN[0], LEAD_IN[1] + 1, (), generator=generator))
        drawn = 1 + torch.randperm(VOCAB - 1, generator=generator)[: lead + period]
        body = drawn[lead:].repeat(math.ceil(LENGTH / period))
        tokens[row] = torch.cat([torch.tensor([PREFIX]), drawn[:lead], body])[:LENGTH]
        # Position q predicts q + 1. The first copied token itself cannot be foreseen; the one
        # after it can.
        copyable[row, 1 + lead + period : LENGTH - 1] = True
    return tokens, copyable


def build(arguments):
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=arguments.heads,
        num_key_value_heads=arguments.heads,
        head_dim=16,
        max_position_embeddings=128,
        tie_word_embeddings=False,
        bos_token_id=PREFIX,
        eos_token_id=None,
        pad_token_id=None,
        attn_implementation="eager",
    )
    return LlamaForCausalLM(config)


def head_norms(model):
    """Sum over heads of the size of the weights that write a head's z into the residual. Without
    this penalty every head of layer 1 becomes an induction head and each can be lost unnoticed;
    with it, and a weight decay that lets the unused queries and keys fade, one does the work."""
    total = 0.0
    for layer in model.model.layers:
        attention = layer.self_attn
        per_head = attention.o_proj.weight.unflatten(1, (-1, attention.head_dim))
        total = total + per_head.pow(2).sum((0, 2)).add(1e-12).sqrt().sum()
    return total


def train(arguments):
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    generator = torch.Generator().manual_seed(arguments.seed)
    model = build(arguments)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=3e-3, betas=(0.9, 0.98), weight_decay=arguments.weight_decay
    )

    def rate(step):
        warm = min(1.0, (step + 1) / 100)
        return warm * 0.5 * (1 + math.cos(math.pi * step / arguments.steps))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    for step in range(arguments.steps):
        tokens, copyable = batch_of_sequences(generator, arguments.batch)
        logits = model(tokens).logits
        chosen = copyable[:, :-1]
        everywhere = torch.nn.functional.cross_entropy(
            logits[:, :-1].transpose(1, 2), tokens[:, 1:], reduction="none"
        )
        loss = everywhere[chosen].mean()
        objective = loss + everywhere[~chosen].mean() + arguments.sparsity * head_norms(model)
        optimizer.zero_grad()
        objective.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 200 == 0 or step == arguments.steps - 1:
            hit = logits[:, :-1][chosen].argmax(-1) == tokens[:, 1:][chosen]
            print(f"step {step} loss {loss.item():.4f} accuracy {hit.float().mean():.4f}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(arguments.out)
    (arguments.out / "generation_config.json").unlink(missing_ok=True)
    for path in arguments.out.iterdir():
        path.chmod(0o644)


def write_prompts():
    """32 prompts: the prefix, then 24 distinct tokens twice; targets where a copy is due."""
    rng = random.Random(5)
    lines = []
    for order in range(32):
        body = rng.sample(range(1, VOCAB), EVAL_PERIOD)
        tokens = [PREFIX, *body, *body]
        places = range(1 + EVAL_PERIOD, 2 * EVAL_PERIOD)
        targets = [{"at": at, "answer": tokens[at + 1]} for at in places]
        lines.append(json.dumps({"tokens": tokens, "targets": targets, "id": f"copy{order}"}))
    PROMPTS.parent.mkdir(parents=True, exist_ok=True)
    PROMPTS.write_text("\n".join(lines) + "\n", encoding="utf-8")


def summary(results, digits):
    """Loss and accuracy over all targets of all prompts."""
    rows = [row for targets in results.values() for row in targets]
    loss = float(np.mean([row["loss"] for row in rows]))
    accuracy = float(np.mean([row["answer_rank"] == 0 for row in rows]))
    return {"loss": float(f"{loss:.{digits}g}"), "accuracy": float(f"{accuracy:.6g}")}


def mean_scores(scores, name):
    return np.mean([one[name] for one in scores.values()], axis=0)


def names(heads):
    return [f"L{layer}H{head}" for layer, head in heads]


def circuit(reference, prompts, digits):
    scores = sweep.attention_scores(reference, prompts, prefix_length=1)
    induction = mean_scores(scores, "induction/latest")
    previous = mean_scores(scores, "previous_token")
    every = [(1, head) for head in range(reference.head_count)]
    inducing = [(1, h) for _, h in every if induction[1, h] > INDUCTION_THRESHOLD]
    others = [pair for pair in every if pair not in inducing]
    feeding = (0, int(previous[0].argmax()))

    def after(heads):
        results = sweep.joint_head_ablation(reference, prompts, heads)
        return {"heads": names(heads), **summary(results, digits)}

    singles = [
        after([(layer, head)])
        for layer in range(reference.layer_count)
        for head in range(reference.head_count)
    ]
    starved = sweep.attention_scores(reference, prompts, 1, ablated=[feeding])
    starved = mean_scores(starved, "induction/latest")

    def grid(values):
        return [[float(f"{value:.{digits}g}") for value in row] for row in values.tolist()]

    return {
        "base": summary(sweep.base(reference, prompts), digits),
        "induction": grid(induction),
        "previous_token": grid(previous),
        "induction_heads": names(inducing),
        "other_layer_1_heads": names(others),
        "previous_token_head": names([feeding])[0],
        "single_heads_zeroed": singles,
        "induction_heads_zeroed": after(inducing),
        "other_layer_1_heads_zeroed": after(others),
        "previous_token_head_zeroed": after([feeding]),
        "induction_with_previous_token_head_zeroed": grid(starved),
    }


def golden(arguments):
    torch.set_num_threads(arguments.threads)
    write_prompts()
    prompts = sweep.read_prompts(PROMPTS)
    content = {
        "made_by": {"script": "tests/golden/train_tiny_induction.py", **sweep.versions()},
        "model": "checkpoints/tiny-induction",
        "prompts": "prompts/tiny_induction.jsonl",
        "note": (
            "loss and accuracy: mean over all targets of all prompts; accuracy counts answers with "
            "no larger logit; scores: mean over prompts, [layer][head], one prefix token, latest "
            "occurrence; zeroed: z of the heads at all positions; induction heads: layer-1 heads "
            f"with a score above {INDUCTION_THRESHOLD}; previous-token head: the largest in layer 0"
        ),
        "chance_loss": float(f"{math.log(VOCAB):.12g}"),
    }
    for dtype, short, digits in (("float32", "fp32", 9), ("float64", "fp64", 12)):
        content[short] = circuit(sweep.Reference(CHECKPOINT, dtype), prompts, digits)
    exact = content["fp64"]
    # What the tests of the science rest on; a model without it must not become the golden.
    assert exact["base"]["accuracy"] > 0.95
    assert len(exact["induction_heads"]) >= 1 and exact["other_layer_1_heads"]
    assert exact["induction_heads_zeroed"]["accuracy"] < 0.1
    assert exact["other_layer_1_heads_zeroed"]["accuracy"] > 0.8
    assert exact["previous_token_head_zeroed"]["accuracy"] < 0.1
    assert max(exact["induction_with_previous_token_head_zeroed"][1]) < 0.2
    GOLDEN.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(exact))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=["train", "golden"])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--weight-decay", type=float, default=1.0)
    parser.add_argument("--sparsity", type=float, default=0.03)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=CHECKPOINT)
    arguments = parser.parse_args()
    if arguments.step == "train":
        train(arguments)
    else:
        golden(arguments)


if __name__ == "__main__":
    main()
