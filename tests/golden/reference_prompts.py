"""Prompt files for the references: `tokens`, `targets` or `answer`/`wrong`, `corrupt_tokens`,
`spans`, `pairs`, `template`. Ids only, no text."""

import json
from collections import defaultdict
from dataclasses import dataclass, field


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
    template: str = ""

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
        entry.get("template", ""),
    )


def read_prompts(path):
    with open(path, encoding="utf-8") as lines:
        entries = [json.loads(line) for line in lines if line.strip()]
    return [parse_prompt(index, entry) for index, entry in enumerate(entries)]


def same_length(prompts):
    groups = defaultdict(list)
    for prompt in prompts:
        groups[len(prompt.tokens)].append(prompt)
    return groups.values()


def clean_tokens(prompt):
    return prompt.tokens


def corrupt_tokens(prompt):
    if prompt.corrupt is None:
        raise ValueError(f"prompt {prompt.index} has no corrupt_tokens")
    return prompt.corrupt
