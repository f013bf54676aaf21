"""The prompt files of the goldens: texts and letters for SmolLM2, random ids for the rest."""

import random

from golden_files import write_lines
from golden_tokenizers import gguf_tokenizer


def _differences(clean, corrupt):
    places = [at for at, (a, b) in enumerate(zip(clean, corrupt, strict=True)) if a != b]
    return [places[0], places[-1] + 1]


# text, corrupt text, template, targets (at, answer, wrong; an answer of None: the next token)
MIXED = [
    (
        "The capital city of the country of France is",
        "The capital city of the country of Spain is",
        "capital",
        [(-1, " Paris", [" Madrid", " London"])],
    ),
    (
        "When Mary and John went to the store, John gave a drink to",
        "When Mary and John went to the store, Mary gave a drink to",
        "names",
        [(-1, " Mary", [" John"]), (9, None, [" Mary"]), (4, None, [])],
    ),
    (
        "red blue green yellow black white red blue green",
        "red blue grey yellow black white red blue pink",
        "list",
        [(-1, " yellow", [" red", " blue", " green"]), (-2, None, [" yellow"])],
    ),
    (
        "Once upon a time there was a little girl who lived in a house near the forest. One "
        "day she went into the forest, and there she met a brown bear. The bear said to the"
        " little",
        "Once upon a time there was a little boy who lived in a house near the forest. One "
        "day she went into the forest, and there she met a brown bear. The bear said to the"
        " little",
        "story",
        [(-1, " girl", [" boy", " bear"]), (20, None, [" river"]), (3, None, []), (12, None, [])],
    ),
    (
        "Count: 1 2 3 4 5 6 7",
        "Count: 1 2 3 4 5 6 9",
        "count",
        [(-1, " ", []), (-3, None, ["9"])],
    ),
    (
        "<|im_start|>user\nWhat colour is the sky?<|im_end|>\n<|im_start|>assistant\nThe sky is",
        "<|im_start|>user\nWhat colour is the sea?<|im_end|>\n<|im_start|>assistant\nThe sky is",
        "chat",
        [(-1, " blue", [" green", " red", " grey"]), (-2, None, [" was"])],
    ),
]


def _mixed_prompts(tokenizer):
    def one(text):
        ids = tokenizer.encode(text).ids
        assert len(ids) == 1, (text, ids)
        return ids[0]

    entries = []
    for order, (text, other, template, targets) in enumerate(MIXED):
        clean, corrupt = tokenizer.encode(text).ids, tokenizer.encode(other).ids
        assert len(clean) == len(corrupt), (text, other)
        listed = []
        for at, answer, wrong in targets:
            answer = clean[at % len(clean) + 1] if answer is None else one(answer)
            listed.append({"at": at, "answer": answer, "wrong": [one(w) for w in wrong]})
        begin, end = _differences(clean, corrupt)
        last = len(clean) - 1
        entries.append(
            {
                "tokens": clean,
                "corrupt_tokens": corrupt,
                "targets": listed,
                "spans": {"swapped": [begin, end], "start": [0, 2]},
                "pairs": {"copy": [[last, begin], [last, last]], "first": [[last, 0]]},
                "template": template,
                "id": f"mixed{order}",
            }
        )
    return entries


def _abna_prompts(tokenizer):
    """A B noise A in letters with a leading space, behind token 0."""
    letters = [tokenizer.encode(f" {chr(code)}").ids for code in range(ord("A"), ord("Z") + 1)]
    assert all(len(ids) == 1 for ids in letters)
    letters = [ids[0] for ids in letters]
    rng = random.Random(42)
    entries = []
    for order in range(8):
        a, b, c = rng.sample(letters, 3)
        pool = [letter for letter in letters if letter not in (a, b)]
        noise = [rng.choice(pool) for _ in range(32)]
        entries.append(
            {
                "tokens": [0, a, b, *noise, a],
                "corrupt_tokens": [0, a, c, *noise, a],
                "answer": b,
                "wrong": [letter for letter in letters if letter != b],
                "spans": {"swapped": [2, 3]},
                "pairs": {"copy": [[35, 2]]},
                "template": "abna",
                "id": f"abna{order}",
            }
        )
    return entries


def _repeat_prompts(period=32, prefix=1):
    rng = random.Random(7)
    entries = []
    for order in range(3):
        body = [rng.randrange(17, 49152) for _ in range(period)]
        tokens = [prefix, *body, *body]
        targets = [{"at": at, "answer": tokens[at + 1]} for at in range(1 + period, 2 * period)]
        entries.append({"tokens": tokens, "targets": targets, "id": f"repeat{order}"})
    return entries


def _random_prompts(vocab, seed):
    """Lengths 1 to 14 over a few token ids, so that tokens recur, next to each other too."""
    rng = random.Random(seed)
    shapes = [(1, [-1]), (4, [-1]), (7, [-1, 3]), (11, [5, -1, 8]), (14, [-1])]
    entries = []
    for order, (length, places) in enumerate(shapes):
        pool = rng.sample(range(2, vocab), max(3, length // 3))
        tokens = [rng.choice(pool) for _ in range(length)]
        if length >= 7:
            tokens[2] = tokens[1]  # a lag of one, which induction must not count
        first = 0 if length == 1 else rng.randrange(0, length - 1)
        last = min(length, first + 1 + order // 2)
        corrupt = list(tokens)
        for at in range(first, last):
            corrupt[at] = rng.choice([t for t in range(2, vocab) if t != tokens[at]])
        targets = []
        for turn, at in enumerate(places):
            answer, *wrong = rng.sample(range(vocab), 3)
            targets.append({"at": at, "answer": answer, "wrong": wrong[: 2 - turn]})
        pairs = [[length - 1, first], [length - 1, length - 1]]
        entries.append(
            {
                "tokens": tokens,
                "corrupt_tokens": corrupt,
                "targets": targets,
                "spans": {"swapped": [first, last], "start": [0, 1]},
                "pairs": {"copy": pairs},
                "template": f"t{order % 2}",
                "id": f"random{order}",
            }
        )
    return entries


def make_prompts(arguments):
    _, tokenizer = gguf_tokenizer(arguments.gguf)
    write_lines("smollm2_mixed.jsonl", _mixed_prompts(tokenizer))
    write_lines("smollm2_abna.jsonl", _abna_prompts(tokenizer))
    write_lines("repeat_smollm2.jsonl", _repeat_prompts())
    write_lines("random_llama.jsonl", _random_prompts(101, 3))
    write_lines("random_gpt2.jsonl", _random_prompts(97, 4))
