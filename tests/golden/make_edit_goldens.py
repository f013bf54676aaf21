"""Writes edits/: interventions of every kind and what they do, by two independent paths.

    python make_edit_goldens.py [CHECKPOINT ...]

For each of the random checkpoints and each set of edits_prompts.py it writes the interventions
(edits_cases.py), runs them with reference_edits.py (a plain forward pass in double precision) and
with edits_by_hooks.py (transformers with hooks), and stops where the two are further apart than
rounding, or where an effect is too small to be told from it. Before that, the plain pass has to
meet transformers' own logits without edits.
"""

import argparse
import json
from types import SimpleNamespace

import edits_cases
import edits_file
import edits_prompts
import reference_edits as plain
import torch
from edits_by_hooks import HookedModel
from golden_files import DIGITS, HERE, made_by, rounded, write_json, write_lines
from golden_results import (
    CHECKPOINTS,
    RANDOM_PROMPTS,
    flat,
    flat_logits,
    leaves,
    read_prompts,
    targets_of,
)
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

FOLDER = HERE / "edits"
AGREE = 1e-9  # of the two paths in double precision; logits reach about 15
NUMBERS = ("loss", "logsumexp", "vocab_mean", "kl", "logits")
SEEN = 5e-3  # the least change of a loss, in nats, that an intervention must show somewhere
CLOSE = 1e-4  # logits this close may change places in fp32
NOTE = (
    "One entry per line of the interventions file, in its order. Its lists run over all targets of "
    "all prompts in file order (targets gives prompt, position and tracked tokens of each); logits "
    "lists the tracked ones of all targets one after the other. kl is KL(base || edited). close, "
    "where given, lists the targets (by their number in the lists) of which another logit lies "
    "within 1e-4 of the answer's or of the largest, so that fp32 may give another answer_rank or "
    "top1. smallest_effect: for each operation the intervention (of those with this operation "
    "alone) that changes the loss least, and by how much at the target where it changes it most; "
    "without_effect: the ids of those that change nothing, which is what they are there to show."
)


def sizes_of(model):
    some = {name: getattr(model, name) for name in ("layers", "query_heads", "key_heads")}
    hidden = model.embed(torch.tensor([0])).shape[1]
    mlp = model.mlp_hidden(0, torch.zeros(1, hidden, dtype=torch.float64)).shape[1]
    return SimpleNamespace(**some, head_size=model.head_size, hidden=hidden, mlp=mlp)


def check_without_edits(path, model, hooked, prompts):
    """The plain pass against transformers as it is (fp32) and with norms and softmax in double."""
    untouched = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    for prompt in prompts:
        for tokens in (prompt.tokens, prompt.corrupt):
            logits = plain.run(model, tokens).logits
            with torch.no_grad():
                theirs = untouched(torch.tensor([tokens])).logits[0].double()
                exact = hooked.model(torch.tensor([tokens])).logits[0]
            assert (logits - theirs).abs().max() < 1e-5 * theirs.abs().max(), prompt.index
            assert (logits - exact).abs().max() < AGREE, prompt.index
            assert (logits - hooked.unedited(tokens)[1]).abs().max() < AGREE, prompt.index


def close_calls(prompt, logits):
    """Of each target: is another logit too near the answer's or the largest for fp32?"""
    found = []
    for target in prompt.targets:
        row = logits[target.at]
        near = (row - row[target.answer]).abs() < CLOSE
        near[target.answer] = False
        top = row.topk(2).values
        found.append(bool(near.any()) or float(top[0] - top[1]) < CLOSE)
    return found


def kind_of(line):
    """The operation of a line with a single one, for the table of effects."""
    edits = line["edits"]
    if len(edits) > 1:
        return "several edits"
    name = ("edge " if "edges" in edits[0] else "") + edits[0]["operation"]
    return name + (", freeze" if line.get("downstream") == "freeze" else "")


class Measured:
    """The largest differences between the paths and the smallest effects of a set."""

    def __init__(self):
        self.apart = {name: 0.0 for name in NUMBERS}
        self.apart_fp32 = dict(self.apart)
        self.effects = {}
        self.without = []

    def compare(self, exact, other, into):
        for a, b in zip(exact, other, strict=True):
            for name in NUMBERS:
                pairs = zip(leaves([a[name]]), leaves([b[name]]), strict=True)
                into[name] = max(into[name], *(abs(x - y) for x, y in pairs))

    def effect(self, line, size):
        if size == 0:
            self.without.append(line["id"])
            return
        assert size > SEEN, (line["id"], size)
        least = self.effects.get(kind_of(line))
        if least is None or size < least[1]:
            self.effects[kind_of(line)] = [line["id"], rounded(size, 3)]


def run_set(models, prompts, file, base):
    """Entries of the golden, the base runs, and what was measured on the way."""
    model, exact, single = models
    runs = plain.Runs(model, prompts, base)
    measured = Measured()

    def tokens_of(donor):
        index, side = donor if isinstance(donor, tuple) else (donor, base)
        return plain.side_of(prompts[index], side)

    unedited = {p.index: runs((p.index, base)).logits for p in prompts}
    before = {p.index: plain.readout(p, unedited[p.index], unedited[p.index]) for p in prompts}
    entries = []
    for line in file.lines:
        freeze = line.get("downstream") == "freeze"
        entry = {"id": line["id"], **{name: [] for name in (*NUMBERS, "top1", "answer_rank")}}
        close, effect = [], 0.0
        for prompt in prompts:
            edited = plain.apply_line(model, file, line, prompt, runs).logits
            targets = plain.readout(prompt, edited, unedited[prompt.index])
            edits = file.edits(line, prompt, prompts, exact.shape, base)
            for hooked, into in ((exact, measured.apart), (single, measured.apart_fp32)):
                tokens = plain.side_of(prompt, base)
                theirs = hooked.logits(tokens, edits, tokens_of, freeze)
                other = plain.readout(prompt, theirs, hooked.unedited(tokens)[1].double())
                measured.compare(targets, other, into)
                bound = AGREE if hooked is exact else 1e-3
                apart = float((theirs - edited).abs().max())
                assert apart < bound, (line["id"], prompt.index, apart)
            for target, old in zip(targets, before[prompt.index], strict=True):
                effect = max(effect, abs(target["loss"] - old["loss"]))
                for name, value in target.items():
                    entry[name] += value if name == "logits" else [value]
            close += close_calls(prompt, edited)
        measured.effect(line, effect)
        entry = rounded(entry, DIGITS["float64"])
        if any(close):
            entry["close"] = [number for number, one in enumerate(close) if one]
        entries.append(entry)
    return entries, before, measured


def make_set(checkpoint, name, models):
    prompt_file, base = edits_prompts.SETS[name]
    prompt_file = prompt_file or RANDOM_PROMPTS.get(checkpoint, "random_llama.jsonl")
    prompts = read_prompts(prompt_file)
    path = FOLDER / interventions_name(checkpoint, name)
    file = edits_file.InterventionFile(path)
    check_without_edits(HERE / "checkpoints" / checkpoint, models[0], models[1], prompts)
    entries, before, measured = run_set(models, prompts, file, base)
    print(checkpoint, name, len(entries), "apart", rounded(measured.apart, 3))
    print("  fp32", rounded(measured.apart_fp32, 3))
    print("  smallest effects", measured.effects, "none", measured.without, flush=True)
    unedited = {
        metric: flat(before, prompts, metric)
        for metric in ("loss", "logsumexp", "vocab_mean", "top1", "answer_rank")
    }
    unedited["logits"] = flat_logits(before, prompts)
    return {
        "name": name,
        "interventions": path.name,
        "prompts": f"prompts/{prompt_file}",
        "base": base,
        "targets": targets_of(prompts),
        "smallest_effect": measured.effects,
        "without_effect": measured.without,
        "largest_fp32_minus_fp64": rounded(measured.apart_fp32, 3),
        "base_run": rounded(unedited, DIGITS["float64"]),
        "edited": entries,
    }


def interventions_name(checkpoint, name):
    part = "" if name == "sites" else f".{name}"
    return f"{checkpoint}{part}.interventions.jsonl"


def write_inputs(sizes):
    """Prompts, interventions and the vectors that those keep in a file."""
    for name, entries in edits_prompts.prompt_sets().items():
        write_lines(name, entries)
    vectors = {}
    for checkpoint, one in sizes.items():
        cases = edits_cases.Cases(checkpoint, one)
        for name in edits_prompts.SETS:
            lines = [json.dumps(line, separators=(",", ":")) for line in cases.lines(name)]
            path = FOLDER / interventions_name(checkpoint, name)
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        vectors |= cases.vectors
    tensors = {name: torch.tensor(numbers) for name, numbers in sorted(vectors.items())}
    save_file(tensors, FOLDER / "vectors.safetensors")
    (FOLDER / "vectors.safetensors").chmod(0o644)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoints", nargs="*", default=CHECKPOINTS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    FOLDER.mkdir(exist_ok=True)
    folders = {name: HERE / "checkpoints" / name for name in CHECKPOINTS}
    models = {name: plain.load(path) for name, path in folders.items()}
    write_inputs({name: sizes_of(model) for name, model in models.items()})
    for checkpoint in arguments.checkpoints:
        path = folders[checkpoint]
        three = (models[checkpoint], HookedModel(path, "float64"), HookedModel(path, "float32"))
        content = {
            "made_by": made_by("torch", "transformers", "safetensors")
            | {"script": "tests/golden/make_edit_goldens.py"},
            "model": f"checkpoints/{checkpoint}",
            "note": NOTE,
            "sets": [make_set(checkpoint, name, three) for name in edits_prompts.SETS],
        }
        write_json(f"edits/{checkpoint}.json", content, 4)


if __name__ == "__main__":
    main()
