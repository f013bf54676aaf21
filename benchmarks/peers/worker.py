"""A process that holds one library with the model and measures what it is told to.

    worker.py LIBRARY MODEL THREADS

MODEL is a .gguf file or a folder. One JSON object a line on stdin, {"task": ...} and its arguments,
and one on stdout for each. It runs in the peers' environment; run.py starts it.
"""

import importlib
import importlib.metadata
import json
import os
import sys
import time
from pathlib import Path

import torch
from gemm import gemm_rates
from interface import (
    EAGER,
    FUSED,
    Batch,
    Scores,
    Unsupported,
    load_tokenizer,
    load_transformers,
)

LIBRARIES = {
    "transformers": ("peer_transformers", "TransformersPeer"),
    "transformer_lens": ("peer_transformer_lens", "TransformerLensPeer"),
    "nnsight": ("peer_nnsight", "NnsightPeer"),
    "nnsight_skipping": ("peer_nnsight", "NnsightSkippingPeer"),
    "pyvene": ("peer_pyvene", "PyvenePeer"),
}


def timed(function, *arguments):
    start = time.perf_counter()
    value = function(*arguments)
    return time.perf_counter() - start, value


def swept(fixed, base, each):
    return {
        "fixed_s": fixed,
        "each_s": [seconds for seconds, _ in each],
        "base": base.tolist(),
        "losses": [losses.tolist() for _, losses in each],
    }


def measure_heads(peer, batch, places, position):
    """A sweep over (layer, head) places: seconds of the base run and of every edit, and losses
    [place, prompt]."""
    fixed, base = timed(peer.losses, batch, batch.tokens)
    each = [timed(peer.losses_without, batch, *place, position) for place in places]
    return swept(fixed, base, each)


def measure_patches(peer, batch, places):
    """The same over (layer, position) places; the donor's run is part of the fixed time."""

    def prepare():
        return peer.losses(batch, batch.corrupt), *peer.donor(batch)

    fixed, (base, donor, residuals) = timed(prepare)
    each = [timed(peer.losses_patched, batch, *place, residuals) for place in places]
    return {**swept(fixed, base, each), "donor": donor.tolist()}


class Worker:
    def __init__(self, library, path):
        module, kind = LIBRARIES[library]
        kind = getattr(importlib.import_module(module), kind)
        self.path = Path(path)
        self.model = load_transformers(self.path)
        self.peer = kind(self.model, self.path)
        self.batches = {}

    def ready(self):
        config, packages = self.model.config, ("torch", self.peer.package)
        return {
            "name": self.peer.name,
            "versions": {name: importlib.metadata.version(name) for name in packages},
            "shape": {
                "layers": config.num_hidden_layers,
                "heads": config.num_attention_heads,
                "kv_heads": config.num_key_value_heads,
                "head_size": config.head_dim,
                "width": config.hidden_size,
                "mlp": config.intermediate_size,
                "vocabulary": config.vocab_size,
            },
        }

    def batch(self, path):
        if path not in self.batches:
            self.batches[path] = Batch(path)
        return self.batches[path]

    def warm_up(self, prompts):
        batch = self.batch(prompts)
        self.peer.losses(batch, batch.tokens)
        self.peer.losses_without(batch, 0, 0, -1)
        return {}

    def save(self, folder):
        """Writes the model as a folder: other workers load that in seconds, a GGUF file takes a
        quarter of a minute."""
        self.model.hf_quantizer = None  # a mark of where it came from, which forbids saving
        self.model.save_pretrained(folder)
        load_tokenizer(self.path).save_pretrained(folder)
        return {}

    def heads(self, prompts, places, position):
        return measure_heads(self.peer, self.batch(prompts), places, position)

    def patches(self, prompts, places):
        return measure_patches(self.peer, self.batch(prompts), places)

    def scores(self, prompts, period):
        self.model.set_attn_implementation(EAGER)
        try:
            seconds, found = timed(self.peer.scores, self.batch(prompts).tokens, Scores(period))
        except Unsupported as problem:
            return {"unsupported": str(problem)}
        finally:
            self.model.set_attn_implementation(FUSED)
        return {"fixed_s": seconds, "each_s": [], "scores": found.tolist()}

    def double(self, prompts, prompt, kind, place, position=None):
        """delta_loss of one edit on one prompt in float64, by the model of the golden files."""
        sys.path.append(str(Path(__file__).resolve().parents[2] / "tests/golden"))
        from reference_model import Reference

        if not hasattr(self, "reference"):
            self.reference = type(self.peer)(Reference(self.path, "float64").model, self.path)
        one = self.batch(prompts).only(prompt)
        if kind == "heads":
            found = measure_heads(self.reference, one, [place], position)
        else:
            found = measure_patches(self.reference, one, [place])
        return {"delta_loss": found["losses"][0][0] - found["base"][0]}

    def gemm(self, **arguments):
        return gemm_rates(**arguments)


def main():
    library, path, threads = sys.argv[1:]
    # Libraries print as they like; the answers go to what was stdout before.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    torch.set_num_threads(int(threads))
    worker = Worker(library, path)
    print(json.dumps(worker.ready()), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        with torch.inference_mode():
            answer = getattr(worker, request.pop("task"))(**request)
        torch.set_num_threads(int(threads))
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
