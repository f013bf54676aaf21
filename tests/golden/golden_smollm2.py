"""Goldens of SmolLM2 from its GGUF file: tensors, base runs, scores, zeroed heads."""

import csv
import json
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import reference_sweep as sweep
import torch
from golden_files import DIGITS, HERE, made_by, rounded, write_json
from golden_results import DTYPES, SHORT, base_block, flat, read_prompts, targets_of


def make_smollm2_tensors(arguments):
    """What transformers holds after loading: rows of q and k are in its order, not the file's."""
    model = sweep.Reference(arguments.gguf).model
    names = ["model.embed_tokens.weight", "model.norm.weight"]
    parts = [f"self_attn.{p}_proj.weight" for p in "qkvo"] + ["input_layernorm.weight"]
    parts += ["mlp.gate_proj.weight", "mlp.up_proj.weight", "mlp.down_proj.weight"]
    names += [f"model.layers.{layer}.{part}" for layer in (0, 29) for part in parts]
    state = model.state_dict()
    tensors = {}
    for name in names:
        tensor = state[name].double()
        rows = tensor[:3] if tensor.dim() == 2 else tensor[None]
        tensors[name] = {
            "shape": list(tensor.shape),
            "sum": rounded(math.fsum(tensor.ravel().tolist()), 15),
            "rows": rounded(rows[:, :4].tolist(), 9),
        }
    note = "first four values of the first three rows, and the sum in double precision"
    content = {"made_by": made_by("torch", "transformers", "gguf"), "note": note}
    write_json("smollm2_tensors.json", content | {"tensors": tensors}, 2)


def make_smollm2_base(arguments):
    references = {dtype: sweep.Reference(arguments.gguf, dtype) for dtype in DTYPES}
    content = {"made_by": made_by("torch", "transformers", "gguf"), "gguf": arguments.gguf.name}
    content["note"] = (
        "lists run over all targets of all prompts in file order; logits are the tracked ones"
    )
    sets = {}
    for name in ("smollm2_mixed", "smollm2_abna"):
        prompts = read_prompts(f"{name}.jsonl")
        clean, apart = base_block(references, prompts)
        corrupt, apart_corrupt = base_block(references, prompts, sweep.corrupt_tokens)
        sets[name] = {
            "prompts": f"prompts/{name}.jsonl",
            "largest_fp32_minus_fp64": {"base": apart, "corrupt": apart_corrupt},
            "targets": targets_of(prompts),
            "base": clean,
            "corrupt": corrupt,
        }
        print(name, apart, apart_corrupt, "mean loss", np.mean(clean["fp64"]["loss"]))
    content["sets"] = sets
    prompt = read_prompts("smollm2_mixed.jsonl")[1]
    full = {"prompts": "prompts/smollm2_mixed.jsonl", "prompt": 1, "at": len(prompt.tokens) - 1}
    rows = {}
    for dtype, reference in references.items():
        states, _ = reference.final_states([prompt.tokens])
        rows[dtype] = reference.logits(states[0, -1]).double().numpy()
        full[SHORT[dtype]] = {
            "first_2000": rounded(rows[dtype][:2000], DIGITS[dtype]),
            "max": rounded(rows[dtype].max(), DIGITS[dtype]),
            "argmax": int(rows[dtype].argmax()),
            "largest_magnitude": rounded(np.abs(rows[dtype]).max(), DIGITS[dtype]),
        }
    apart = np.abs(rows["float32"] - rows["float64"]).max()
    full["largest_fp32_minus_fp64_of_all_49152"] = rounded(apart, 3)
    content["full_logits"] = full
    print("full logits apart", apart, "largest", np.abs(rows["float64"]).max())
    write_json("smollm2_base.json", content, 4)


def make_smollm2_scores(arguments):
    prompts = read_prompts("repeat_smollm2.jsonl")
    content = {
        "made_by": made_by("torch", "transformers", "gguf"),
        "gguf": arguments.gguf.name,
        "prompts": "prompts/repeat_smollm2.jsonl",
        "note": "[prompt][layer][head]; the first token is the prefix (never a query, and a query "
        "whose key is the prefix does not count), except in previous_token_no_prefix, where "
        "position 1 counts as a query too. The other two scores are the same either way.",
    }
    found = {}
    for dtype in DTYPES:
        reference = sweep.Reference(arguments.gguf, dtype)
        with_prefix = sweep.attention_scores(reference, prompts, 1)
        without = sweep.attention_scores(reference, prompts, 0)
        for name in ("duplicate_token/latest", "induction/latest"):
            for prompt in prompts:
                assert np.allclose(with_prefix[prompt.index][name], without[prompt.index][name])
        found[dtype] = {
            "previous_token": [with_prefix[p.index]["previous_token"] for p in prompts],
            "previous_token_no_prefix": [without[p.index]["previous_token"] for p in prompts],
            "duplicate_token": [with_prefix[p.index]["duplicate_token/latest"] for p in prompts],
            "induction": [with_prefix[p.index]["induction/latest"] for p in prompts],
        }
    content["largest_fp32_minus_fp64"] = {
        name: rounded(float(np.abs(np.array(exact) - np.array(found["float32"][name])).max()), 3)
        for name, exact in found["float64"].items()
    }
    print("scores apart", content["largest_fp32_minus_fp64"])
    strongest = {}
    for name, values in found["float64"].items():
        mean = np.mean(values, axis=0)
        order = np.argsort(-mean.ravel(), kind="stable")[:6]
        strongest[name] = [
            [f"L{i // mean.shape[1]}H{i % mean.shape[1]}", rounded(mean.ravel()[i], 6)]
            for i in map(int, order)
        ]
    content["strongest_six"] = strongest
    print(strongest)
    for dtype, scores in found.items():
        content[SHORT[dtype]] = {
            name: [rounded(one, 7 if dtype == "float32" else 9) for one in values]
            for name, values in scores.items()
        }
    write_json("smollm2_scores.json", content, 4)


def _ablation_from_layer(reference, prompts, positions, layer, before):
    """As sweep.ablation of z in one layer, from the states that enter that layer (`before`, of
    the unedited run): the layers below compute the same in every run of a sweep."""
    backbone, rows = reference.backbone, range(len(prompts))
    whole = backbone.layers
    results = {}
    backbone.layers = whole[layer:]
    try:
        for head in range(reference.head_count):
            edits = [(i, layer, "z", head, prompts[i].positions(positions), None) for i in rows]
            output, _ = reference.run(None, edits, inputs_embeds=before)
            found = sweep.read_targets(reference, prompts, output.last_hidden_state)
            for prompt, one in zip(prompts, found, strict=True):
                results[layer, head, None, prompt.index] = one
    finally:
        backbone.layers = whole
    return results


def _ablated(reference, positions, prompts):
    """Base and ablation of every head; one layer is checked against whole passes."""
    dtype = reference.dtype
    wanted = [(layer, "resid_pre") for layer in range(reference.layer_count)]
    _, states = reference.final_states([prompt.tokens for prompt in prompts], capture=wanted)
    found = {}
    for layer, site in wanted:
        before = states[layer, site]
        found |= _ablation_from_layer(reference, prompts, positions, layer, before)
        print(dtype, positions, layer, flush=True)
    checked = reference.layer_count // 2
    for key, targets in sweep.ablation(reference, prompts, "z", positions, [checked]).items():
        apart = abs(targets[0]["loss"] - found[key][0]["loss"])
        assert apart < (1e-10 if dtype == "float64" else 5e-5), (key, apart)
    return sweep.base(reference, prompts), found


def make_smollm2_head_ablation(arguments):
    prompts = read_prompts("smollm2_abna.jsonl")
    both = [(dtype, positions) for dtype in DTYPES for positions in ("all", "targets")]
    torch.set_num_threads(1)  # two independent sweeps share the cores better than one on both
    # Loaded one after another: from_pretrained is not safe in threads (it left the tied
    # unembedding at random values). A model each, because hooks belong to a model.
    models = [sweep.Reference(arguments.gguf, dtype) for dtype, _ in both]
    with ThreadPoolExecutor(arguments.threads) as pool:
        jobs = {
            key: pool.submit(_ablated, model, key[1], prompts)
            for key, model in zip(both, models, strict=True)
        }
        done = {key: job.result() for key, job in jobs.items()}
    torch.set_num_threads(arguments.threads)
    found = {key: result[1] for key, result in done.items()}
    bases = {dtype: done[dtype, "all"][0] for dtype in DTYPES}
    known = json.loads((HERE / "smollm2_base.json").read_text(encoding="utf-8"))
    known = known["sets"]["smollm2_abna"]["base"]["fp64"]["loss"]
    for dtype in DTYPES:
        assert np.allclose(flat(bases[dtype], prompts, "loss"), known, rtol=0, atol=5e-5)
    rows = []
    apart = {"loss": 0.0, "delta_loss": 0.0}
    for positions in ("all", "targets"):
        for layer, head, _, index in found["float32", positions]:
            row = [positions, layer, head, index]
            pair = []
            for dtype in DTYPES:
                loss = found[dtype, positions][layer, head, None, index][0]["loss"]
                pair.append((loss, loss - bases[dtype][index][0]["loss"]))
                row += [f"{value:.9g}" for value in pair[-1]]
            apart["loss"] = max(apart["loss"], abs(pair[0][0] - pair[1][0]))
            apart["delta_loss"] = max(apart["delta_loss"], abs(pair[0][1] - pair[1][1]))
            rows.append(row)
    path = HERE / "smollm2_head_ablation.csv"
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        columns = ["loss", "delta_loss", "loss_fp64", "delta_loss_fp64"]
        writer.writerow(["positions", "layer", "head", "prompt", *columns])
        writer.writerows(rows)
    ranked = {}
    for positions in ("all", "targets"):
        means = {}
        for (layer, head, _, index), one in found["float64", positions].items():
            delta = one[0]["loss"] - bases["float64"][index][0]["loss"]
            means.setdefault((layer, head), []).append(delta)
        top = sorted(((np.mean(v), k) for k, v in means.items()), reverse=True)[:10]
        ranked[positions] = [[f"L{k[0]}H{k[1]}", rounded(float(v), 9)] for v, k in top]
    content = {
        "made_by": made_by("torch", "transformers", "gguf"),
        "file": path.name,
        "gguf": arguments.gguf.name,
        "prompts": "prompts/smollm2_abna.jsonl",
        "largest_fp32_minus_fp64": rounded(apart, 3),
        "largest_mean_delta_loss_fp64": ranked,
    }
    write_json("smollm2_head_ablation.json", content)
    print(apart, ranked, path.stat().st_size)
