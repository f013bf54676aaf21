"""Compares mechsweep's tokenizers with Hugging Face tokenizers on many lines of varied text.

    python compare_tokenizers.py TOKENIZE_LINES [FILE ...] [--count 120000] [--seed 1]

TOKENIZE_LINES is the program of tokenize_lines.cpp. FILE is a tokenizer.json or a GGUF file of
SmolLM2 or Gemma 3, for which transformers makes the reference; without any, all tokenizers of this
folder and both models. Ids, offsets and decoded texts are compared. Two differences of offsets are
counted apart: a token that is nothing but a space which the tokenizer put in has no bytes (the
reference gives it the character behind it), and where normalisation joins characters a token gets
all of them (the reference gives it one). So are lines that mechsweep refuses because the vocabulary
has no token for a byte. The counts go into tokenizer_parity.json, in which other files keep theirs.
Exits 1 when ids, texts or other offsets differ.
"""

import argparse
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

from golden_files import HERE, made_by, write_json
from golden_tokenizers import gguf_tokenizer, with_digits_split
from tokenizer_lines import lines
from tokenizers import Tokenizer

ROOT = HERE.parents[1]
RESULT = HERE / "tokenizer_parity.json"
ALL = [
    *sorted((HERE / "tokenizers").glob("*/tokenizer.json")),
    ROOT / "models/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf",
    ROOT / "models/gemma3-270m/gemma-3-270m-q4_k_m.gguf",
]


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


def compare(program, path, texts, show):
    """How many texts have which kinds of difference."""
    tokenizer = reference(path)
    counts = Counter()
    results = encodings(program, path, texts)
    for text, result in zip(texts, results, strict=True):
        for kind in differences(tokenizer, text, result):
            counts[kind] += 1
            if counts[kind] <= show:
                print(f"{kind}: {text!r}: {json.dumps(result)[:400]}")
    print(f"{path}: {len(texts)} lines, differences: {dict(counts)}", flush=True)
    return counts


def relative(path):
    path = path.resolve()
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path.name)


def entry(path, arguments, counts):
    return {
        "file": relative(path),
        "lines": arguments.count,
        "seed": arguments.seed,
        "ids_differ": counts["IDS"],
        "texts_differ": counts["TEXT"],
        "offsets_differ": counts["OFFSETS"],
        "refused": counts["refused"],
        "put_in_space": counts["put-in space"],
        "joined_characters": counts["joined characters"],
    }


def write(entries):
    """Replaces the entries of the same files."""
    known = []
    if RESULT.is_file():
        known = json.loads(RESULT.read_text(encoding="utf-8"))["tokenizers"]
    files = {one["file"]: one for one in known} | {one["file"]: one for one in entries}
    by = made_by("transformers", "tokenizers", "gguf")
    by["script"] = "tests/golden/compare_tokenizers.py"
    note = "numbers of lines; what the columns count is said in the script"
    content = {"made_by": by, "note": note, "tokenizers": [files[name] for name in sorted(files)]}
    write_json(RESULT.name, content)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("files", type=Path, nargs="*", metavar="FILE")
    parser.add_argument("--count", type=int, default=120000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", type=int, default=3, help="examples of each kind of difference")
    arguments = parser.parse_args()
    texts = lines(arguments.count, arguments.seed)
    failed = False
    for path in arguments.files or ALL:
        counts = compare(arguments.program, path, texts, arguments.show)
        write([entry(path, arguments, counts)])
        failed = failed or any(kind.isupper() for kind in counts)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
