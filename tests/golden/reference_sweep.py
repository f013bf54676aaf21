"""A slow, independent path to mechsweep's numbers: transformers, forward hooks, one full pass each.

    python reference_sweep.py MODEL PROMPTS.jsonl --task head_ablation --positions all --out x.csv

MODEL is a Hugging Face folder or a .gguf file. PROMPTS is a prompt file that gives token ids
(`tokens`, `targets` or `answer`/`wrong`, `corrupt_tokens`, `spans`, `pairs`). The output has one
row per number, in the columns that `mechsweep export` prints.

Nothing here shares code or ideas with the engine: every intervention is a whole forward pass of
the transformers model with hooks on its modules, and prompts are batched only with prompts of the
same length, so that neither padding nor an attention mask can play a part. It serves as a library
for the golden generator and for benchmarks; the entry points are Reference and the task functions
base, ablation, patching and attention_scores.
"""

import argparse
import csv
import json
import math
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as functional
import transformers
from transformers import AutoModelForCausalLM
from transformers.models.llama import modeling_llama

SITES = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "z")
TASKS = ("base", "head_ablation", "site_ablation", "activation_patching", "attention_scores")
DIRECTIONS = ("clean_to_corrupt", "corrupt_to_clean")
OCCURRENCES = ("latest", "first", "all")
OFFSETS = (-2, -1, 0, 1, 2)
RECOVERY_FLOOR = 0.1


# ---------------------------------------------------------------------------------- prompts


@dataclass
class Target:
    at: int
    answer: int
    wrong: list

    def tracked(self):
        return [self.answer, *self.wrong]


@dataclass
class Prompt:
    index: int
    tokens: list
    targets: list = field(default_factory=list)
    corrupt: list = None
    spans: dict = field(default_factory=dict)
    pairs: dict = field(default_factory=dict)
    name: str = ""

    def positions(self, selection):
        """The token positions that a joint selection names, in order and without repeats."""
        length = len(self.tokens)
        if selection == "all":
            return list(range(length))
        if selection == "targets":
            return sorted({target.at for target in self.targets})
        if isinstance(selection, str):
            if selection not in self.spans:
                raise ValueError(f"prompt {self.index} has no span named {selection!r}")
            begin, end = self.spans[selection]
            if not 0 <= begin < end <= length:
                raise ValueError(f"prompt {self.index}: span {selection!r} is not inside it")
            return list(range(begin, end))
        for position in selection:
            if not -length <= position < length:
                raise ValueError(f"prompt {self.index} has no position {position}")
        return sorted({position % length for position in selection})


def _target(entry, length):
    at = entry.get("at", -1)
    if not -length <= at < length:
        raise ValueError(f"a target at {at} does not fit {length} tokens")
    return Target(at % length, entry["answer"], list(entry.get("wrong", [])))


def parse_prompt(index, entry):
    """A prompt from one line of a prompt file that gives ids rather than text."""
    tokens = entry["tokens"]
    listed = entry.get("targets", [])
    if "answer" in entry:
        listed = [{"at": -1, "answer": entry["answer"], "wrong": entry.get("wrong", [])}]
    corrupt = entry.get("corrupt_tokens")
    if corrupt is not None and len(corrupt) != len(tokens):
        raise ValueError(f"prompt {index}: the corrupt partner has another length")
    targets = [_target(target, len(tokens)) for target in listed]
    return Prompt(
        index,
        tokens,
        targets,
        corrupt,
        entry.get("spans", {}),
        entry.get("pairs", {}),
        entry.get("id", ""),
    )


def read_prompts(path):
    with open(path, encoding="utf-8") as lines:
        entries = [json.loads(line) for line in lines if line.strip()]
    return [parse_prompt(index, entry) for index, entry in enumerate(entries)]


# ------------------------------------------------------------------------------------ model


def _norm_in_own_dtype(module, states):
    variance = states.pow(2).mean(-1, keepdim=True)
    return module.weight * (states * torch.rsqrt(variance + module.variance_epsilon))


def _rotary_in_own_dtype(module, states, position_ids):
    config = module.config
    base = float(config.rope_parameters["rope_theta"])
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    exponents = torch.arange(0, size, 2, dtype=states.dtype) / size
    angles = position_ids[..., None].to(states.dtype) * base**-exponents
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos(), angles.sin()


def _llama_attention_in_own_dtype(module, query, key, value, attention_mask, scaling, **_):
    key = modeling_llama.repeat_kv(key, module.num_key_value_groups)
    value = modeling_llama.repeat_kv(value, module.num_key_value_groups)
    scores = torch.matmul(query, key.transpose(2, 3)) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    pattern = functional.softmax(scores, dim=-1)
    return torch.matmul(pattern, value).transpose(1, 2).contiguous(), pattern


_eager_llama_attention = modeling_llama.eager_attention_forward


def _llama_attention(module, query, *arguments, **named):
    chosen = (
        _llama_attention_in_own_dtype if query.dtype == torch.float64 else _eager_llama_attention
    )
    return chosen(module, query, *arguments, **named)


def _make_truly_double(model):
    """transformers computes norms, rotary angles and softmax of a Llama in float32 whatever the
    dtype; a reference in double precision must not."""
    modeling_llama.eager_attention_forward = _llama_attention
    for module in model.modules():
        if isinstance(module, modeling_llama.LlamaRMSNorm):
            module.forward = _norm_in_own_dtype.__get__(module)
        elif isinstance(module, modeling_llama.LlamaRotaryEmbedding):
            module.forward = _rotary_in_own_dtype.__get__(module)


class Reference:
    """A model with the places named where its sites are. All forwards run without gradients.

    The module behind each site, by architecture:

        site        llama                                gpt2
        resid_pre   input of layers[l]                   input of h[l]
        z           input of layers[l].self_attn.o_proj  input of h[l].attn.c_proj
        attn_out    output of layers[l].self_attn        output of h[l].attn
        resid_mid   input of post_attention_layernorm    input of h[l].ln_2
        mlp_out     output of layers[l].mlp              output of h[l].mlp
        resid_post  output of layers[l]                  output of h[l]
    """

    def __init__(self, path, dtype="float32"):
        path = Path(path)
        wanted = {"float32": torch.float32, "float64": torch.float64}[dtype]
        keywords = {"dtype": torch.float32, "attn_implementation": "eager"}
        if path.suffix == ".gguf":
            folder, keywords["gguf_file"] = path.parent, path.name
        else:
            folder = path
        model = AutoModelForCausalLM.from_pretrained(folder, **keywords).eval()
        self.dtype = dtype
        self.config = model.config
        kind = model.config.model_type
        if kind == "llama":
            self.layers = list(model.model.layers)
            self.attention = [layer.self_attn for layer in self.layers]
            self.projection = [layer.self_attn.o_proj for layer in self.layers]
            self.mid_norm = [layer.post_attention_layernorm for layer in self.layers]
        elif kind == "gpt2":
            self.layers = list(model.transformer.h)
            self.attention = [layer.attn for layer in self.layers]
            self.projection = [layer.attn.c_proj for layer in self.layers]
            self.mid_norm = [layer.ln_2 for layer in self.layers]
        else:
            raise ValueError(f"no sites are known for a model of type {kind!r}")
        self.mlp = [layer.mlp for layer in self.layers]
        self.model = model.to(wanted)
        if wanted == torch.float64 and kind == "llama":
            _make_truly_double(self.model)
        self.backbone = self.model.base_model
        self.unembedding = self.model.get_output_embeddings()
        if getattr(model.config, "tie_word_embeddings", False):
            tied = torch.equal(self.unembedding.weight, self.model.get_input_embeddings().weight)
            assert tied, "transformers did not tie the unembedding to the embedding"
        self.layer_count = len(self.layers)
        self.head_count = model.config.num_attention_heads
        self.head_size = (
            getattr(model.config, "head_dim", None) or model.config.hidden_size // self.head_count
        )

    def _place(self, layer, site, act):
        """Registers a hook that gives the site's tensor [batch, position, width] to `act`. `act`
        may write into it; the model goes on with what it wrote."""

        def on_input(_, arguments):
            states = arguments[0].clone()
            act(states)
            return (states, *arguments[1:])

        def on_shared_input(_, arguments):
            # The block keeps this very tensor as its residual, so writing in place reaches both
            # the MLP's input and the sum after it. A clone would reach only the first.
            act(arguments[0])

        def on_output(_, __, output):
            if isinstance(output, tuple):
                states = output[0].clone()
                act(states)
                return (states, *output[1:])
            states = output.clone()
            act(states)
            return states

        if site == "resid_pre":
            return self.layers[layer].register_forward_pre_hook(on_input)
        if site == "z":
            return self.projection[layer].register_forward_pre_hook(on_input)
        if site == "resid_mid":
            return self.mid_norm[layer].register_forward_pre_hook(on_shared_input)
        if site == "attn_out":
            return self.attention[layer].register_forward_hook(on_output)
        if site == "mlp_out":
            return self.mlp[layer].register_forward_hook(on_output)
        if site == "resid_post":
            return self.layers[layer].register_forward_hook(on_output)
        raise ValueError(f"no site named {site!r}")

    @torch.no_grad()
    def _run(self, tokens, edits, capture=(), **wanted):
        grouped = defaultdict(list)
        for edit in edits:
            grouped[edit[1], edit[2]].append(edit)
        captured = {}
        handles = []
        for (layer, site), group in grouped.items():

            def write(states, group=group):
                for row, _, _, head, positions, value in group:
                    columns = self._columns(head)
                    for order, position in enumerate(positions):
                        kept = 0.0 if value is None else value[order]
                        states[row, position, columns] = kept

            handles.append(self._place(layer, site, write))
        for layer, site in capture:

            def read(states, key=(layer, site)):
                captured[key] = states.clone()

            handles.append(self._place(layer, site, read))
        try:
            ids = None if tokens is None else torch.as_tensor(tokens)
            output = self.backbone(ids, use_cache=False, **wanted)
        finally:
            for handle in handles:
                handle.remove()
        return output, captured

    def final_states(self, tokens, edits=(), capture=()):
        """Runs [batch, length] tokens; returns the states after the final norm and the captured
        sites {(layer, site): tensor}. An edit is (row, layer, site, head, positions, value): head
        is None or an index of z, value None (zero) or [len(positions), width] (with a head, of
        the head's width)."""
        output, captured = self._run(tokens, edits, capture)
        return output.last_hidden_state, captured

    def _columns(self, head):
        if head is None:
            return slice(None)
        return slice(head * self.head_size, (head + 1) * self.head_size)

    @torch.no_grad()
    def logits(self, states):
        return self.unembedding(states)

    def patterns(self, tokens, edits=()):
        """Attention probabilities [layer, batch, head, query, key]."""
        output, _ = self._run(tokens, edits, output_attentions=True)
        return torch.stack(output.attentions)


# ---------------------------------------------------------------------------------- readout


def _metrics(target, row):
    top = row.max()
    logsumexp = top + math.log(np.exp(row - top).sum())
    values = {
        "loss": float(logsumexp - row[target.answer]),
        "logsumexp": float(logsumexp),
        "vocab_mean": float(row.mean()),
        "top1": int(row.argmax()),  # the lowest id of equals
        "answer_rank": int((row > row[target.answer]).sum()),
        "logits": [float(row[token]) for token in target.tracked()],
    }
    if target.wrong:
        values["margin"] = float(row[target.answer] - max(row[token] for token in target.wrong))
    return values


def read_targets(reference, prompts, states):
    """[prompt][target] -> metrics from final states [prompt, length, width]. Only the rows that
    are read are unembedded; losses are summed in double precision from the model's logits."""
    wanted = [(row, target) for row, prompt in enumerate(prompts) for target in prompt.targets]
    picked = states[[row for row, _ in wanted], [target.at for _, target in wanted]]
    found = [[] for _ in prompts]
    logits = reference.logits(picked).double().numpy()
    for (row, target), values in zip(wanted, logits, strict=True):
        found[row].append(_metrics(target, values))
    return found


def _same_length(prompts):
    groups = defaultdict(list)
    for prompt in prompts:
        groups[len(prompt.tokens)].append(prompt)
    return groups.values()


def _clean(prompt):
    return prompt.tokens


def _corrupt(prompt):
    if prompt.corrupt is None:
        raise ValueError(f"prompt {prompt.index} has no corrupt_tokens")
    return prompt.corrupt


def base(reference, prompts, which=_clean):
    """[prompt][target] -> metrics of the unedited run."""
    results = {}
    for group in _same_length(prompts):
        states, _ = reference.final_states([which(prompt) for prompt in group])
        found = read_targets(reference, group, states)
        results.update((prompt.index, one) for prompt, one in zip(group, found, strict=True))
    return results


def run_edits(reference, prompts, which, edits, rows_at_once=64):
    """Runs edited passes. `edits` lists (key, prompt, [(layer, site, head, positions, value)]);
    returns {key: [target] -> metrics}."""
    results = {}
    by_length = defaultdict(list)
    for item in edits:
        by_length[len(item[1].tokens)].append(item)
    for items in by_length.values():
        for start in range(0, len(items), rows_at_once):
            part = items[start : start + rows_at_once]
            tokens = [which(prompt) for _, prompt, _ in part]
            flat = [(row, *edit) for row, (_, _, some) in enumerate(part) for edit in some]
            states, _ = reference.final_states(tokens, flat)
            found = read_targets(reference, [prompt for _, prompt, _ in part], states)
            results.update((key, one) for (key, _, _), one in zip(part, found, strict=True))
    return results


# ------------------------------------------------------------------------------------ tasks


def _plan(reference, prompts, site, positions, layers, value_of):
    """Keys (layer, head, position, prompt) and the edit of each; position is None for a joint
    edit, head is None where the site has no heads."""
    heads = range(reference.head_count) if site == "z" else [None]
    for layer in layers:
        for head in heads:
            for prompt in prompts:
                if positions == "each":
                    chosen = [(at, [at]) for at in range(len(prompt.tokens))]
                else:
                    chosen = [(None, prompt.positions(positions))]
                for label, where in chosen:
                    value = value_of(prompt, layer, head, where)
                    edit = (layer, site, head, where, value)
                    yield (layer, head, label, prompt.index), prompt, [edit]


def ablation(reference, prompts, site="z", positions="all", layers=None, which=_clean, rows=64):
    """Zero at a site. {(layer, head, position, prompt): [target] -> metrics}"""
    layers = range(reference.layer_count) if layers is None else layers
    edits = list(_plan(reference, prompts, site, positions, layers, lambda *_: None))
    return run_edits(reference, prompts, which, edits, rows)


def patching(reference, prompts, site, direction, positions="all", layers=None, rows=64):
    """Writes the donor run's value at a site into the other run. Keys as in `ablation`."""
    layers = range(reference.layer_count) if layers is None else layers
    into, donor = (_corrupt, _clean) if direction == "clean_to_corrupt" else (_clean, _corrupt)
    kept = {}
    for group in _same_length(prompts):
        wanted = [(layer, site) for layer in layers]
        _, captured = reference.final_states([donor(p) for p in group], capture=wanted)
        for row, prompt in enumerate(group):
            kept[prompt.index] = {layer: captured[layer, site][row] for layer in layers}

    def value_of(prompt, layer, head, where):
        return kept[prompt.index][layer][where][:, reference._columns(head)]

    edits = list(_plan(reference, prompts, site, positions, layers, value_of))
    return run_edits(reference, prompts, into, edits, rows)


def joint_head_ablation(reference, prompts, heads, positions="all", which=_clean):
    """Zero z of all the (layer, head) pairs at once. {prompt: [target] -> metrics}"""
    edits = []
    for prompt in prompts:
        where = prompt.positions(positions)
        edits.append(
            (prompt.index, prompt, [(layer, "z", head, where, None) for layer, head in heads])
        )
    return run_edits(reference, prompts, which, edits)


def score_queries(tokens, offset, occurrence="latest", prefix_length=0):
    """For every query that counts, the keys whose attention is summed: {query: [key, ...]}.

    A query looks for earlier positions s that hold its own token and attends to s + offset. The
    occurrence is chosen first; then a key must be content (not the prefix), and one that lies
    after its s must still come before the query. A query left without any key does not count."""
    found = {}
    for query in range(prefix_length, len(tokens)):
        earlier = [s for s in range(prefix_length, query) if tokens[s] == tokens[query]]
        if occurrence == "latest":
            earlier = earlier[-1:]
        elif occurrence == "first":
            earlier = earlier[:1]
        keys = [s + offset for s in earlier if prefix_length <= s + offset < query]
        if keys:
            found[query] = keys
    return found


def _mean_over(pattern, queries):
    """Mean over the queries of the attention summed over each one's keys; [layer, head]."""
    if not queries:
        return None
    total = sum(pattern[:, :, q, keys].sum(-1) for q, keys in queries.items())
    return (total / len(queries)).numpy()


def scores_of_pattern(pattern, prompt, prefix_length=0):
    """{score: [layer, head] or None} of one prompt from its pattern [layer, head, query, key]."""
    tokens = prompt.tokens
    previous = {q: [q - 1] for q in range(prefix_length + 1, len(tokens))}
    result = {"previous_token": _mean_over(pattern, previous)}
    for occurrence in OCCURRENCES:
        for offset in OFFSETS:
            name = {-1: "anti_induction", 0: "duplicate_token", 1: "induction"}.get(
                offset, f"offset_{offset:+d}"
            )
            queries = score_queries(tokens, offset, occurrence, prefix_length)
            result[f"{name}/{occurrence}"] = _mean_over(pattern, queries)
    for name, pairs in prompt.pairs.items():
        values = [pattern[:, :, query, key] for query, key in pairs]
        result[name] = torch.stack(values).mean(0).numpy() if values else None
    return result


def attention_scores(reference, prompts, prefix_length=0, ablated=()):
    """{prompt: {score: [layer, head] or None}}; the default occurrence is `latest`. `ablated`
    lists (layer, head) pairs whose z is zero everywhere meanwhile."""
    results = {}
    for group in _same_length(prompts):
        edits = [
            (row, layer, "z", head, prompt.positions("all"), None)
            for row, prompt in enumerate(group)
            for layer, head in ablated
        ]
        patterns = reference.patterns([prompt.tokens for prompt in group], edits).double()
        for row, prompt in enumerate(group):
            results[prompt.index] = scores_of_pattern(patterns[:, row], prompt, prefix_length)
    return results


# ------------------------------------------------------------------------------------ export

COLUMNS = ["run", "model", "prompts", "layer", "head", "position", "prompt", "metric", "value"]


def _number(value):
    if isinstance(value, int):
        return str(value)
    return "nan" if value is None or math.isnan(value) else f"{value:.12g}"


def _blank(value):
    return "" if value is None else value


def _plain(metrics):
    """The metrics under the names of the export."""
    row = {key: value for key, value in metrics.items() if key != "logits"}
    row.update({f"logit_{order}": value for order, value in enumerate(metrics["logits"])})
    return row


def _edited(metrics, base_metrics, donor_metrics):
    row = _plain(metrics)
    for name in ("loss", "margin"):
        if name not in metrics:
            continue
        row[f"delta_{name}"] = metrics[name] - base_metrics[name]
        if donor_metrics is not None:
            span = donor_metrics[name] - base_metrics[name]
            known = abs(span) >= RECOVERY_FLOOR
            row[f"recovery_{name}"] = row[f"delta_{name}"] / span if known else math.nan
    return row


class Table:
    """Collects rows of the export; a `target` column appears when a prompt has several."""

    def __init__(self, run, model, prompts, entries):
        self.head = [run, model, prompts]
        self.with_target = any(len(prompt.targets) > 1 for prompt in entries)
        self.rows = []

    def add(self, layer, head, position, target, prompt, metric, value):
        axes = [_blank(layer), _blank(head), _blank(position)]
        if self.with_target:
            axes.append(_blank(target))
        self.rows.append([*self.head, *axes, prompt, metric, _number(value)])

    def add_targets(self, prefix, key, prompt, targets):
        for target, row in enumerate(targets):
            for metric, value in row.items():
                self.add(*key, target, prompt, prefix + metric, value)

    def columns(self):
        return COLUMNS[:6] + (["target"] if self.with_target else []) + COLUMNS[6:]

    def write(self, out, form):
        if form == "csv":
            writer = csv.writer(out, lineterminator="\n")
            writer.writerow(self.columns())
            writer.writerows(self.rows)
        else:
            made_by = {"script": "tests/golden/reference_sweep.py", **versions()}
            json.dump({"made_by": made_by, "columns": self.columns(), "rows": self.rows}, out)


def run_task(reference, prompts, task, table, *, site, direction, positions, prefix_length=0):
    """Fills the table with everything that a task says about the prompts."""
    if task == "attention_scores":
        for index, scores in attention_scores(reference, prompts, prefix_length).items():
            for name, values in scores.items():
                if values is None:
                    continue
                for (layer, head), value in np.ndenumerate(values):
                    table.add(layer, head, None, None, index, name, float(value))
        return
    patched = task == "activation_patching"
    swapped = patched and direction == "clean_to_corrupt"
    base_run = base(reference, prompts, _corrupt if swapped else _clean)
    donor_run = base(reference, prompts, _clean if swapped else _corrupt) if patched else None
    nowhere = (None, None, None)
    for index, targets in base_run.items():
        table.add_targets("base_", nowhere, index, [_plain(row) for row in targets])
    if task == "base":
        return
    if patched:
        for index, targets in donor_run.items():
            table.add_targets("donor_", nowhere, index, [_plain(row) for row in targets])
        edited = patching(reference, prompts, site, direction, positions)
    else:
        edited = ablation(reference, prompts, "z" if task == "head_ablation" else site, positions)
    for (layer, head, position, index), targets in edited.items():
        donors = donor_run[index] if patched else [None] * len(targets)
        rows = [_edited(*one) for one in zip(targets, base_run[index], donors, strict=True)]
        table.add_targets("", (layer, head, position), index, rows)


def parse_positions(text):
    if text.startswith("["):
        return json.loads(text)
    return text


def versions():
    return {
        "python": ".".join(map(str, sys.version_info[:3])),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "numpy": np.__version__,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="a Hugging Face folder or a .gguf file")
    parser.add_argument("prompts", type=Path, help="a prompt file with token ids")
    parser.add_argument("--task", choices=TASKS, default="base")
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    parser.add_argument("--site", choices=SITES, default="resid_pre")
    parser.add_argument("--direction", choices=DIRECTIONS, default="clean_to_corrupt")
    parser.add_argument("--positions", default="all", help="all, targets, each, a span, or [0, -1]")
    parser.add_argument("--prefix-length", type=int, default=0, help="prefix tokens (scores)")
    parser.add_argument("--id", default="", help="the run id; default: the task's name")
    parser.add_argument("--format", choices=["csv", "json"], default="csv")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="default: standard output")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    reference = Reference(arguments.model, arguments.dtype)
    prompts = read_prompts(arguments.prompts)
    model, name = arguments.model.stem, arguments.prompts.stem
    run = f"{arguments.id or arguments.task}/{model}/{name}"
    table = Table(run, model, name, prompts)
    run_task(
        reference,
        prompts,
        arguments.task,
        table,
        site=arguments.site,
        direction=arguments.direction,
        positions=parse_positions(arguments.positions),
        prefix_length=arguments.prefix_length,
    )
    if arguments.out:
        with open(arguments.out, "w", encoding="utf-8", newline="") as out:
            table.write(out, arguments.format)
    else:
        table.write(sys.stdout, arguments.format)


if __name__ == "__main__":
    main()
