"""The prompts of the edit goldens.

Sets, each a prompt file with interventions that fit all of its prompts (edits_cases.py):

    sites     edits_ragged, clean base: every site with every operation that fits it, attention
              edges, freezing, several edits at once
    donors    edits_equal, clean base: other prompts as donors, means over all prompts
    corrupt   edits_ragged, corrupt base
    short     the prompts of the random goldens (one of a single token), clean base
"""

import random

SETS = {
    "sites": ("edits_ragged.jsonl", "clean"),
    "donors": ("edits_equal.jsonl", "clean"),
    "corrupt": ("edits_ragged.jsonl", "corrupt"),
    "short": (None, "clean"),
}
VOCABULARY = 97  # of the smaller checkpoint, so that all of them can read the prompts


def _prompt(rng, name, length, template, places):
    tokens = [rng.randrange(2, VOCABULARY) for _ in range(length)]
    corrupt = list(tokens)
    for at in (1, 2, length - 3):
        corrupt[at] = rng.choice([t for t in range(2, VOCABULARY) if t != tokens[at]])
    targets = []
    for turn, at in enumerate(places):
        answer, *wrong = rng.sample(range(VOCABULARY), 3)
        targets.append({"at": at, "answer": answer, "wrong": wrong[: 2 - turn]})
    return {
        "tokens": tokens,
        "corrupt_tokens": corrupt,
        "targets": targets,
        "spans": {"subject": [1, 3], "end": [length - 2, length]},
        "pairs": {
            "copy": [[length - 1, 1], [length - 1, 2], [length - 2, 1], [length - 3, 0]],
            "row": [[length - 1, key] for key in range(length)],
        },
        "template": template,
        "id": name,
    }


def prompt_sets():
    """The prompt files to write, by name. Within each template of the ragged set the two longest
    are equally long, so that a mean has a source at every position."""
    rng = random.Random(21)
    shapes = [(8, "t0", [-1, 4]), (5, "t0", [-1]), (10, "t1", [3, -2, -1])]
    shapes += [(8, "t0", [-1]), (10, "t1", [-1]), (7, "t1", [-1])]
    ragged = [_prompt(rng, f"ragged{i}", *shape) for i, shape in enumerate(shapes)]
    equal = [_prompt(rng, f"equal{i}", 7, f"e{i % 2}", [-1] if i else [-3, -1]) for i in range(4)]
    return {"edits_ragged.jsonl": ragged, "edits_equal.jsonl": equal}
