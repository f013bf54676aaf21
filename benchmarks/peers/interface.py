"""What every peer offers, and what they share: the model, prompts, scores."""

import copy
import json
from abc import ABC, abstractmethod
from pathlib import Path

import torch
import torch.nn.functional as functional
from transformers import AutoModelForCausalLM, AutoTokenizer, utils

# Eager attention is slower and is asked for only where attention probabilities are read.
FUSED, EAGER = "sdpa", "eager"


class Unsupported(Exception):
    """The library does not offer this: one clause that says why."""


def source(path):
    """Where transformers finds a checkpoint: a .gguf file or a folder."""
    path = Path(path)
    return (path, {}) if path.is_dir() else (path.parent, {"gguf_file": path.name})


def load_transformers(path):
    """The model in float32; a GGUF file as transformers dequantises it."""
    utils.logging.disable_progress_bar()
    folder, more = source(path)
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation=FUSED, **more
    )
    return model.eval()


def load_tokenizer(path):
    folder, more = source(path)
    return AutoTokenizer.from_pretrained(folder, **more)


class Batch:
    """Prompts of one length as one batch: `tokens`, `corrupt` (or None) and the `answers` that the
    last position should predict (or None)."""

    def __init__(self, file):
        prompts = [json.loads(line) for line in Path(file).read_text(encoding="utf-8").splitlines()]
        self.tokens = torch.tensor([prompt["tokens"] for prompt in prompts])
        self.corrupt = self.answers = None
        if all("corrupt_tokens" in prompt for prompt in prompts):
            self.corrupt = torch.tensor([prompt["corrupt_tokens"] for prompt in prompts])
        if all("answer" in prompt for prompt in prompts):
            self.answers = torch.tensor([prompt["answer"] for prompt in prompts])

    def only(self, prompt):
        """One of its prompts."""
        one = copy.copy(self)
        for name in ("tokens", "corrupt", "answers"):
            value = getattr(self, name)
            setattr(one, name, None if value is None else value[prompt : prompt + 1])
        return one

    def losses(self, logits):
        """Losses [prompt], nats, of the logits [prompt, vocabulary] of the last position."""
        return functional.cross_entropy(logits, self.answers, reduction="none")


class Scores:
    """previous_token, duplicate_token and induction of sequences that are one period of distinct
    tokens, repeated once; so they are means over diagonals of the attention pattern."""

    NAMES = ("previous_token", "duplicate_token", "induction")

    def __init__(self, period):
        self.period = period

    def of(self, pattern):
        """[score, prompt, head] of the probabilities [prompt, head, query, key] of one layer."""

        def diagonal(back, first_query):
            return pattern.diagonal(-back, -2, -1)[..., first_query - back :].mean(-1)

        return torch.stack(
            [
                diagonal(1, 1),
                diagonal(self.period, self.period),
                diagonal(self.period - 1, self.period),
            ]
        )


class Peer(ABC):
    """One library. The methods hold the code that a good user of it would write: one batch of all
    prompts, no cache, the unembedding for the last position only. worker.py calls them without
    gradients and takes the times."""

    name = ""  # as the report has it
    package = ""  # on PyPI

    @abstractmethod
    def __init__(self, model, path):
        """Hands the library its model, one of transformers; `path`: where it came from."""

    @abstractmethod
    def losses(self, batch, tokens):
        """Losses [prompt] of an unedited run."""

    @abstractmethod
    def losses_without(self, batch, layer, head, position):
        """The same with z of one head := 0 at a position (None: at all)."""

    @abstractmethod
    def donor(self, batch):
        """Losses of the clean run, and what enters each layer in it, [prompt, position, width]."""

    @abstractmethod
    def losses_patched(self, batch, layer, position, residuals):
        """Losses of the corrupt run with resid_pre of a layer and position from the clean run."""

    @abstractmethod
    def scores(self, tokens, scores):
        """[score, prompt, layer, head]."""
