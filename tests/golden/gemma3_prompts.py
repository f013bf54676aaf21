"""The prompts of Gemma 3: sentences of about 24 and 100 tokens, a report longer than the window,
and random tokens that come back within it and beyond it."""

import random

from golden_files import write_lines
from golden_tokenizers import gguf_tokenizer

PROMPTS = "gemma3_mixed.jsonl"
REPEATS = "repeat_gemma3.jsonl"
WINDOW = 512

# id, text, targets (at, answer, wrong; an answer of None: the token that comes next)
SHORT = [
    (
        "capitals",
        "The capital of France is Paris, the capital of Italy is Rome, and the capital of Japan is",
        [(-1, " Tokyo", [" Kyoto", " Paris", " Rome"]), (5, None, [" Rome"]), (15, None, [])],
    ),
    (
        "lexicon",
        "Der Hund schläft: the dog is sleeping.\nDie Katze schläft: the cat is",
        [(-1, " sleeping", [" eating", " dog"]), (-3, None, [" dog"])],
    ),
    (
        "ferry",
        "On the morning of the flood the ferryman tied three boats to the old oak behind the "
        "chapel. The first was red and leaked, the second was blue and had no oars, and the third"
        " was green and belonged to the miller's widow, who had never let anybody row it. By noon"
        " the water stood at the chapel door. The ferryman looked at the boats, thought of the "
        "leak and of the missing oars, took off his hat and went to ask the widow for her",
        [(-1, " boat", [" oars", " hat"]), (60, None, [" red"]), (20, None, [])],
    ),
]

_WORDS = (
    "Anna Boris Clara David Elena Frank Grace Henry Irene Jonas",
    "lamps barrels ropes candles letters apples bricks blankets kettles coins",
    "harbour mill market chapel bridge bakery school garden tower stable",
    "two three four five six seven eight nine",
)
NAMES, THINGS, PLACES, NUMBERS = (words.split() for words in _WORDS)
OPENING = "The password of the old lighthouse is marigold.\n"
QUESTION = "At last somebody asked for the password of the old lighthouse. The password is"


def _report(tokenizer, length):
    """What was said first is asked for last, more than a window later."""
    rng = random.Random(11)
    text, day = OPENING, 0
    while True:
        day += 1
        begin, end = rng.sample(PLACES, 2)
        sentence = (
            f"Day {day}: {rng.choice(NAMES)} carried {rng.choice(NUMBERS)} {rng.choice(THINGS)} "
            f"from the {begin} to the {end}.\n"
        )
        if len(tokenizer.encode(text + sentence + QUESTION).ids) > length:
            return text + QUESTION
        text += sentence


def _mixed(tokenizer):
    def first(text):
        return tokenizer.encode(text, add_special_tokens=False).ids[0]

    edge = [(at, None, []) for at in range(WINDOW - 1, WINDOW + 2)]
    report = [*edge, (600, None, []), (-1, " mar", [" lighthouse", " the"])]
    for name, text, targets in [*SHORT, ("report", _report(tokenizer, 690), report)]:
        ids = tokenizer.encode(text).ids
        listed = []
        for at, answer, wrong in targets:
            answer = ids[at % len(ids) + 1] if answer is None else first(answer)
            listed.append({"at": at, "answer": answer, "wrong": [first(one) for one in wrong]})
        yield {"tokens": ids, "targets": listed, "id": name}


def _repeats():
    rng = random.Random(13)

    def some(count):
        return [rng.randrange(1000, 240000) for _ in range(count)]

    near, far = some(32), some(48)
    yield {"tokens": [2, *near, *near], "id": "near"}
    yield {"tokens": [2, *far, *some(560), *far], "id": "far"}


def make_prompts(path):
    write_lines(PROMPTS, list(_mixed(gguf_tokenizer(path))))
    write_lines(REPEATS, list(_repeats()))
