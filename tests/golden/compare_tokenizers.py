"""Compares mechsweep's tokenizers with Hugging Face tokenizers on many lines of varied text.

    python compare_tokenizers.py TOKENIZE_LINES FILE [--count 100000] [--seed 1]

TOKENIZE_LINES is the program of tokenize_lines.cpp. FILE is a tokenizer.json or a GGUF file of
SmolLM2 or Gemma 3, for which transformers makes the reference. Ids, offsets and decoded texts are
compared. Two differences of offsets are counted apart: a token that is nothing but a space which
the tokenizer put in has no bytes (the reference gives it the character behind it), and where
normalisation joins characters a token gets all of them (the reference gives it one). So are lines
that mechsweep refuses because the vocabulary has no token for a byte. Exits 1 when ids, texts or
other offsets differ.
"""

import argparse
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

from golden_tokenizers import gguf_tokenizer, with_digits_split
from tokenizer_lines import lines
from tokenizers import Tokenizer


def reference(path):
    if path.suffix != ".gguf":
        return Tokenizer.from_file(str(path))
    tokenizer = gguf_tokenizer(path)
    return with_digits_split(tokenizer) if "smollm" in path.name.lower() else tokenizer


def encodings(program, path, texts):
    given = "".join(json.dumps(text) + "\n" for text in texts)
    run = subprocess.run([program, path], input=given.encode(), stdout=subprocess.PIPE, check=True)
    return [json.loads(line) for line in run.stdout.decode().split("\n")[:-1]]


def offset_kinds(text, result, offsets):
    """What kinds of difference there are between the offsets of one text."""
    character = [i for i, c in enumerate(text) for _ in c.encode()] + [len(text)]
    kinds = set()
    for (begin, end), expected in zip(result["bytes"], offsets, strict=True):
        mine = (character[begin], character[end - 1] + 1 if end > begin else character[begin])
        if mine == tuple(expected):
            continue
        if begin == end:
            kinds.add("put-in space")
        elif mine[0] <= expected[0] and mine[1] >= expected[1]:
            kinds.add("joined characters")
        else:
            kinds.add("OFFSETS")
    return kinds


def differences(tokenizer, text, result):
    expected = tokenizer.encode(text, add_special_tokens=False)
    if "error" in result:
        return {"refused"}
    if result["ids"] != expected.ids:
        return {"IDS"}
    kinds = offset_kinds(text, result, expected.offsets)
    if result["text"] != tokenizer.decode(expected.ids, skip_special_tokens=False):
        kinds.add("TEXT")
    return kinds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("file", type=Path)
    parser.add_argument("--count", type=int, default=100000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", type=int, default=3, help="examples of each kind of difference")
    arguments = parser.parse_args()
    texts = lines(arguments.count, arguments.seed)
    tokenizer = reference(arguments.file)
    counts = Counter()
    results = encodings(arguments.program, arguments.file, texts)
    for text, result in zip(texts, results, strict=True):
        for kind in differences(tokenizer, text, result):
            counts[kind] += 1
            if counts[kind] <= arguments.show:
                print(f"{kind}: {text!r}: {json.dumps(result)[:400]}")
    print(f"{arguments.file}: {len(texts)} lines, differences: {dict(counts)}")
    return 1 if any(kind.isupper() for kind in counts) else 0


if __name__ == "__main__":
    sys.exit(main())
