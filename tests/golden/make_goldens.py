"""Writes the goldens of this folder: what other software says about the same inputs.

    python make_goldens.py --gguf SmolLM2-135M-Instruct.Q4_1.gguf [PART ...]

Parts, in the order in which they have to run the first time: dequant, safetensors, tokenizers,
prompts, random, smollm2_tensors, smollm2_base, smollm2_scores, smollm2_head_ablation. Without any,
all of them. README.md says what each file holds.
"""

import argparse
import csv
import json
import math
import platform
import random
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import gguf
import numpy as np
import reference_sweep as sweep
import torch
from safetensors import safe_open
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from tokenizers.trainers import BpeTrainer

HERE = Path(__file__).resolve().parent
CHECKPOINTS = ("llama-random", "llama-random-sharded", "gpt2-random")
RANDOM_PROMPTS = {"gpt2-random": "random_gpt2.jsonl"}
GOLDEN_NAMES = {"gpt2-random": "random_gpt2.json", "llama-random": "random_llama.json"}
GOLDEN_NAMES["llama-random-sharded"] = "random_llama_sharded.json"
DTYPES = ("float32", "float64")
SHORT = {"float32": "fp32", "float64": "fp64"}
DIGITS = {"float32": 9, "float64": 11}


def made_by(*packages):
    names = ("torch", "transformers", "tokenizers", "safetensors", "gguf", "numpy")
    wanted = packages or names
    return {
        "script": "tests/golden/make_goldens.py",
        "python": platform.python_version(),
        **{name: version(name) for name in wanted},
    }


def rounded(value, digits):
    """Numbers to so many significant digits, NaN as null, all the way down."""
    if isinstance(value, dict):
        return {key: rounded(one, digits) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(one, digits) for one in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return rounded(value.tolist(), digits)
    if isinstance(value, float):
        return None if math.isnan(value) else float(f"{value:.{digits}g}")
    return value


def _dump(value, depth, indent):
    if depth == 0 or not isinstance(value, (dict, list)) or not value:
        return json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    inner = indent + " "
    if isinstance(value, dict):
        lines = [f"{json.dumps(k)}: {_dump(v, depth - 1, inner)}" for k, v in value.items()]
        return "{\n" + ",\n".join(inner + line for line in lines) + "\n" + indent + "}"
    lines = [inner + _dump(one, depth - 1, inner) for one in value]
    return "[\n" + ",\n".join(lines) + "\n" + indent + "]"


def write_json(name, content, depth=2):
    """JSON that is compact and still has lines: only the outer levels are broken up."""
    path = HERE / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_dump(content, depth, "") + "\n", encoding="utf-8")
    print(f"{name}: {path.stat().st_size} bytes", flush=True)


def write_lines(name, entries):
    path = HERE / "prompts" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(entry, separators=(", ", ": ")) for entry in entries]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"prompts/{name}: {path.stat().st_size} bytes", flush=True)


# ---------------------------------------------------------------------------------- dequant

# Where the half-precision scales of a block are; random bytes there would be NaN or huge.
SCALES = {
    "Q8_0": [0],
    "Q4_0": [0],
    "Q4_1": [0, 2],
    "Q5_0": [0],
    "Q5_1": [0, 2],
    "Q4_K": [0, 2],
    "Q5_K": [0, 2],
    "Q6_K": [208],
}


def make_dequant(_):
    rng = np.random.default_rng(7)
    types = {}
    for name in ("F16", "BF16", *SCALES):
        kind = gguf.GGMLQuantizationType[name]
        per_block, size = gguf.GGML_QUANT_SIZES[kind]
        cases = []
        if name == "F16":
            # Zeros of both signs, the smallest subnormal, the largest subnormal, the smallest
            # normal, the largest value, both infinities, and ordinary numbers.
            bits = [0, 0x8000, 1, 0x83FF, 0x0400, 0x7BFF, 0x7C00, 0xFC00, 0x3555, 0xC248]
            cases.append(np.array(bits, "<u2").tobytes())
            cases.append(rng.normal(size=32).astype("<f2").tobytes())
        elif name == "BF16":
            bits = [0, 0x8000, 1, 0x807F, 0x0080, 0x7F7F, 0x7F80, 0xFF80, 0x3EAB, 0xC049]
            cases.append(np.array(bits, "<u2").tobytes())
            cases.append((rng.normal(size=32).astype("<f4").view("<u4") >> 16).astype("<u2"))
            cases[-1] = cases[-1].tobytes()
        else:
            for order in range(4):
                block = bytearray(rng.integers(0, 256, size, dtype=np.uint8).tobytes())
                for at in SCALES[name]:
                    scale = rng.normal() * (0.0 if order == 3 else 10.0**-order)
                    block[at : at + 2] = np.float16(scale).tobytes()
                if order == 2:  # every quant at its largest
                    first = max(SCALES[name]) + 2 if name != "Q6_K" else 0
                    last = size if name != "Q6_K" else 208
                    block[first:last] = b"\xff" * (last - first)
                cases.append(bytes(block))
            cases.append(cases[0] + cases[1])  # two blocks in one row
        rows = []
        for data in cases:
            raw = np.frombuffer(data, np.uint8)
            values = gguf.quants.dequantize(raw, kind).astype("<f4").ravel()
            rows.append({"blocks": data.hex(), "values": values.tobytes().hex()})
        types[name] = {
            "type_id": int(kind),
            "values_per_block": per_block,
            "bytes_per_block": size,
            "cases": rows,
        }
    note = "hex of the stored bytes; hex of the values as little-endian fp32, in order"
    write_json(
        "dequant.json", {"made_by": made_by("gguf", "numpy"), "note": note, "types": types}, 4
    )


# ------------------------------------------------------------------------------ safetensors


def make_safetensors(_):
    names = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}
    checkpoints = {}
    folders = [*CHECKPOINTS]
    if (HERE / "checkpoints" / "tiny-induction").exists():
        folders.append("tiny-induction")
    for folder in folders:
        tensors = {}
        for path in sorted((HERE / "checkpoints" / folder).glob("*.safetensors")):
            with safe_open(path, "pt") as file:
                for key in file.keys():  # noqa: SIM118 (not a mapping)
                    tensor = file.get_tensor(key)
                    flat = tensor.double().ravel()
                    tensors[key] = {
                        "file": path.name,
                        "dtype": names[tensor.dtype],
                        "shape": list(tensor.shape),
                        "sum": math.fsum(flat.tolist()),
                        "first": flat[:4].tolist(),
                        "last": flat[-1].item(),
                    }
        checkpoints[folder] = dict(sorted(tensors.items()))
    by = made_by("torch", "safetensors")
    write_json("safetensors_values.json", {"made_by": by, "checkpoints": checkpoints}, 3)


# ------------------------------------------------------------------------------- tokenizers

STRINGS = [
    "",
    "a",
    " ",
    "Hello",
    " Hello",
    "Hello world",
    "Hello  world",
    "Hello   world",
    "  leading spaces",
    "trailing spaces  ",
    "The quick brown fox jumps over the lazy dog.",
    "It's we're they've I'm you'll he'd don't",
    "IT'S WE'RE THEY'VE I'M YOU'LL HE'D",
    "it\u2019s a curly apostrophe",
    "'s at the start and an 'unknown contraction",
    "0",
    "7 8 9",
    "1234567890",
    "In 2024, 3.14159 and 1,000,000.50!",
    "a  1",
    "x   42   y",
    "v2.0beta3",
    "\u00bd \u00b2 \u2460 \u2167 \u0664\u0665\u0666",
    "A B C A",
    " A B C A",
    "Q: Pick the odd person out: Isaac Newton, Brad Pitt, Leonardo DiCaprio\nA:",
    "line one\nline two",
    "line one\n\nline two\n",
    "\n",
    "\n\n\n",
    "\t",
    "\ttabbed\t\ttext",
    " \n \t mixed \r\n white",
    "   \n   ",
    "def f(x):\n    return x + 1\n",
    "for (int i = 0; i < n; ++i) { a[i] *= 2; }",
    "https://example.org/path?query=1&other=two#part",
    "user@example.com",
    "...!!!???",
    "a-b_c/d\\e|f",
    "caf\u00e9 na\u00efve \u00fcber",
    "cafe\u0301 nai\u0308ve",
    "\u00c5ngstr\u00f6m \u00d8re \u0141\u00f3d\u017a",
    "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440!",
    "\u0393\u03b5\u03b9\u03ac \u03c3\u03bf\u03c5",
    "\u0645\u0631\u062d\u0628\u0627",
    "\u05e9\u05dc\u05d5\u05dd",
    "\u4f60\u597d\uff0c\u4e16\u754c\u3002",
    "\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8",
    "\ud55c\uad6d\uc5b4 \ubb38\uc7a5",
    "\u0928\u092e\u0938\u094d\u0924\u0947",
    "\U0001f600",
    "smile \U0001f600 and \U0001f44d\U0001f3fd",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\U0001d4d0\U0001d4d1",
    "non\u00a0breaking\u2003em\u200bzero",
    "\ufeffbom",
    "\u00ad\u2026\u2014\u201cquoted\u201d",
    "<|im_start|>",
    "<|im_start|>user\nHi there<|im_end|>\n",
    "a<|endoftext|>b",
    " <|im_end|> <|im_start|> ",
    "<|im_start|><|im_start|>",
    "<|im_start|almost",
    "a<sep>b <sep> c",
    "<pad><pad>1<pad>",
    "mixed: caf\u00e9 12 \u4e16\u754c \U0001f680 it's\t<|im_end|>x",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "supercalifragilisticexpialidocious",
    "\u0000\u0001\u007f",
    "control \u0004 and plane \U00040000 four",
]

CORPUS = """A sweep runs a model many times and changes one thing in every run. The head that looks
back at the earlier copy of a token is called an induction head, and the head that looks at the
previous token feeds it. When Mary and John went to the store, John gave a drink to Mary. It's a
small corpus: we're not after quality, they've said, I'm only after merges, you'll see, he'd say
it doesn't matter. In 2024 there were 12 layers and 144 heads, in 1999 there were none. The loss
is the negative logarithm of the probability of the answer; the margin is the answer's logit minus
the largest of the wrong ones. The quick brown fox jumps over the lazy dog.
    return x + 1    for i in range(10):    print(i)
Hello world. Hello, hello there, the other brother gathered the leather."""

LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _digits_then_bytes():
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )


def _train(style):
    """A byte-level BPE tokenizer of about 400 tokens in one of three styles of published files."""
    tokenizer = Tokenizer(models.BPE())
    special = [
        AddedToken("<|endoftext|>", special=True, normalized=False),
        AddedToken("<|im_start|>", special=True, normalized=False),
        AddedToken("<|im_end|>", special=True, normalized=False),
    ]
    if style == "gpt2":
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    elif style == "smollm":
        tokenizer.pre_tokenizer = _digits_then_bytes()
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(LLAMA3_SPLIT), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    # In a fixed order: counts alone decide the merges, ties included.
    tokenizer.train_from_iterator(CORPUS.split("\n"), trainer)
    # Two tokens added after training: ids behind the vocabulary, one of them not special.
    tokenizer.add_special_tokens([AddedToken("<sep>", special=True, normalized=False)])
    tokenizer.add_tokens([AddedToken("<pad>", special=False, normalized=False)])
    if style == "llama3":
        begin = tokenizer.token_to_id("<|endoftext|>")
        tokenizer.post_processor = processors.Sequence(
            [
                processors.ByteLevel(trim_offsets=False),
                processors.TemplateProcessing(
                    single="<|endoftext|> $A",
                    pair="<|endoftext|> $A <|endoftext|> $B",
                    special_tokens=[("<|endoftext|>", begin)],
                ),
            ]
        )
    return tokenizer


def _encodings(tokenizer):
    cases = []
    for text in STRINGS:
        encoding = tokenizer.encode(text)
        plain = tokenizer.encode(text, add_special_tokens=False)
        decoded = tokenizer.decode(plain.ids, skip_special_tokens=False)
        case = {"text": text, "ids": encoding.ids, "offsets": [list(o) for o in encoding.offsets]}
        if plain.ids != encoding.ids:
            case["ids_without_special"] = plain.ids
        if decoded != text:
            case["decoded"] = decoded
        cases.append(case)
    return cases


OFFSETS_NOTE = (
    "offsets are half-open ranges of Unicode code points (not bytes), one per id; a token that "
    "holds part of a character's bytes gets the whole character; leading spaces belong to their "
    "token; special tokens that the tokenizer adds itself have [0, 0]. decoded is given only "
    "where decoding does not give the text back."
)


def gguf_tokenizer(path):
    """The tokenizer that transformers builds from a GGUF file, and the same with the split that
    the file asks for."""
    from transformers import AutoTokenizer

    unmodified = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    as_built = unmodified.backend_tokenizer
    corrected = Tokenizer.from_str(as_built.to_str())
    corrected.pre_tokenizer = _digits_then_bytes()
    return as_built, corrected


def make_tokenizers(arguments):
    by = made_by("tokenizers")
    for style in ("gpt2", "smollm", "llama3"):
        path = HERE / "tokenizers" / f"{style}-style" / "tokenizer.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        trained = _train(style)
        trained.save(str(path), pretty=False)
        cases = _encodings(Tokenizer.from_file(str(path)))
        assert not any("decoded" in case for case in cases)
        content = {"made_by": by, "tokenizer": str(path.relative_to(HERE)), "note": OFFSETS_NOTE}
        content |= {"vocab_size": trained.get_vocab_size(), "cases": cases}
        write_json(f"tokenizer_{style}_style.json", content)
    as_built, corrected = gguf_tokenizer(arguments.gguf)
    cases = _encodings(corrected)
    other = _encodings(as_built)
    for case, raw in zip(cases, other, strict=True):
        if case["ids"] != raw["ids"]:
            case["ids_of_transformers"] = raw["ids"]
    lossy = [case["text"] for case in cases if "decoded" in case]
    assert lossy == STRINGS[-1:], lossy
    print("differ:", [c["text"] for c in cases if "ids_of_transformers" in c], "lossy:", lossy)
    note = (
        "The file's tokenizer.ggml.pre is smollm: digits are split off one by one, then the GPT-2 "
        "pattern applies to each piece. transformers ignores that key and uses the GPT-2 pattern "
        "alone; ids_of_transformers is given where that changes the result. The vocabulary lacks "
        "21 of the 256 bytes; those bytes vanish, so a text with one does not decode back."
    )
    content = {
        "made_by": made_by("transformers", "tokenizers", "gguf"),
        "gguf": arguments.gguf.name,
        "note": note,
        "offsets": OFFSETS_NOTE,
        "cases": cases,
    }
    write_json("tokenizer_smollm2.json", content)


# ---------------------------------------------------------------------------------- prompts


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


# ----------------------------------------------------------------------------------- models


def read_prompts(name):
    return sweep.read_prompts(HERE / "prompts" / name)


def _flat(results, prompts, metric):
    """A metric over all targets of all prompts, in file order."""
    return [row[metric] for prompt in prompts for row in results[prompt.index]]


def _flat_logits(results, prompts):
    return [v for row in _flat(results, prompts, "logits") for v in row]


def base_block(references, prompts, which=sweep._clean):
    """Base metrics in both precisions, and how far apart they are."""
    block, measured = {}, {}
    raw = {}
    for dtype, reference in references.items():
        results = sweep.base(reference, prompts, which)
        values = {m: _flat(results, prompts, m) for m in ("loss", "logsumexp", "vocab_mean")}
        values["logits"] = _flat(results, prompts, "logits")
        raw[dtype] = values
        block[SHORT[dtype]] = rounded(values, DIGITS[dtype])
        for name in ("top1", "answer_rank"):
            found = _flat(results, prompts, name)
            assert block.setdefault(name, found) == found, f"{name} depends on the precision"
    for name, exact in raw["float64"].items():
        both = zip(_leaves(raw["float32"][name]), _leaves(exact), strict=True)
        measured[name] = rounded(max(abs(a - b) for a, b in both), 3)
    return block, measured


def _leaves(value):
    if isinstance(value, (list, tuple, np.ndarray)):
        for one in value:
            yield from _leaves(one)
    elif value is not None:
        yield float(value)


def targets_of(prompts):
    return {
        "prompt": [prompt.index for prompt in prompts for _ in prompt.targets],
        "at": [target.at for prompt in prompts for target in prompt.targets],
        "tracked": [target.tracked() for prompt in prompts for target in prompt.targets],
    }


# ----------------------------------------------------------------------- random checkpoints


def _grid(reference, prompts, site, results, metric, each):
    """Nested lists [layer][head, for z][target], or [...][target][position] for `each`."""
    heads = range(reference.head_count) if site == "z" else [None]

    def values(layer, head):
        if metric == "logits":
            return [
                value
                for prompt in prompts
                for row in results[layer, head, None, prompt.index]
                for value in row["logits"]
            ]
        found = []
        for prompt in prompts:
            for order in range(len(prompt.targets)):
                if each:
                    places = range(len(prompt.tokens))
                    row = [results[layer, head, at, prompt.index][order][metric] for at in places]
                    found.append(row)
                else:
                    found.append(results[layer, head, None, prompt.index][order][metric])
        return found

    grid = [[values(layer, head) for head in heads] for layer in range(reference.layer_count)]
    return grid if site == "z" else [row[0] for row in grid]


def _random_run(references, prompts, operation, site, positions, direction):
    each = positions == "each"
    axes = ["layer", *(["head"] if site == "z" else []), "target", *(["position"] if each else [])]
    run = {"operation": operation, "site": site, "positions": positions, "direction": direction}
    run["axes"] = axes
    worst = {}
    raw = {}
    for dtype, reference in references.items():
        if operation == "zero":
            results = sweep.ablation(reference, prompts, site, positions)
        else:
            results = sweep.patching(reference, prompts, site, direction, positions)
        for metric in ("loss",) if each else ("loss", "logits"):
            grid = _grid(reference, prompts, site, results, metric, each)
            run[f"{metric}_{SHORT[dtype]}"] = rounded(grid, DIGITS[dtype])
            raw[metric, dtype] = grid
        if not each:
            tops = _grid(reference, prompts, site, results, "top1", each)
            if run.setdefault("top1", tops) != tops:
                run["top1_fp32"], run["top1"] = run["top1"], tops
    for metric in ("loss", "logits"):
        if (metric, "float32") in raw:
            both = zip(
                _leaves(raw[metric, "float32"]), _leaves(raw[metric, "float64"]), strict=True
            )
            worst[metric] = max(abs(a - b) for a, b in both)
    return run, worst


RANDOM_NOTE = (
    "Every axis called target runs over all targets of all prompts in file order (targets gives "
    "prompt, position and tracked tokens of each). logits_* of a run drop the target axis and list "
    "the tracked logits of all targets one after the other. A position axis is ragged: as long as "
    "the target's prompt. Replacing: clean_to_corrupt writes clean values into the corrupt run, "
    "corrupt_to_clean the other way round; the clean targets score both. Zeroing is on the clean "
    "run. z has a head axis and each head is edited alone. positions other than each are one joint "
    "edit. Scores: [prompt][layer][head], null where no query counts."
)


def make_random(_):
    for folder in CHECKPOINTS:
        path = HERE / "checkpoints" / folder
        references = {dtype: sweep.Reference(path, dtype) for dtype in DTYPES}
        name = RANDOM_PROMPTS.get(folder, "random_llama.jsonl")
        prompts = read_prompts(name)
        clean, measured_clean = base_block(references, prompts)
        corrupt, _ = base_block(references, prompts, sweep._corrupt)
        worst = {"base": measured_clean, "loss": 0.0, "logits": 0.0}
        runs = []
        for operation, direction in (("zero", None), *(("replace", d) for d in sweep.DIRECTIONS)):
            for site in sweep.SITES:
                for positions in ("all", "targets", "swapped", [0, -1], "each"):
                    run, apart = _random_run(
                        references, prompts, operation, site, positions, direction
                    )
                    runs.append(run)
                    for metric, value in apart.items():
                        worst[metric] = max(worst[metric], value)
                _check_runs(site, runs[-5:], operation, direction, clean, corrupt)
        scores = {}
        apart = 0.0
        for prefix_length in (0, 1):
            found = {
                dtype: sweep.attention_scores(reference, prompts, prefix_length)
                for dtype, reference in references.items()
            }
            names = found["float64"][0].keys()
            scores[f"prefix_length_{prefix_length}"] = {
                score: rounded(
                    [
                        None if (v := found["float64"][p.index][score]) is None else v.tolist()
                        for p in prompts
                    ],
                    DIGITS["float64"],
                )
                for score in names
            }
            for prompt in prompts:
                for score in names:
                    a, b = (found[dtype][prompt.index][score] for dtype in DTYPES)
                    if a is not None:
                        apart = max(apart, float(np.abs(a - b).max()))
        worst["scores"] = apart
        content = {
            "made_by": made_by("torch", "transformers", "numpy"),
            "model": f"checkpoints/{folder}",
            "prompts": f"prompts/{name}",
            "note": RANDOM_NOTE,
            "largest_fp32_minus_fp64": rounded(worst, 3),
            "targets": targets_of(prompts),
            "base": clean,
            "corrupt": corrupt,
            "runs": runs,
            "scores_fp64": scores,
        }
        print(folder, "fp32 against fp64:", rounded(worst, 3))
        write_json(GOLDEN_NAMES[folder], content)


def _check_runs(site, runs, operation, direction, clean, corrupt):
    """Replacing a whole residual stream must give the donor's run: this would fail if, say, the
    edit of resid_mid reached the MLP but not the sum after it."""
    if operation != "replace" or not site.startswith("resid"):
        return
    donor = clean if direction == "clean_to_corrupt" else corrupt
    for layer in runs[0]["loss_fp64"]:
        assert np.allclose(layer, donor["fp64"]["loss"], rtol=0, atol=1e-9), (site, direction)


# ---------------------------------------------------------------------------------- SmolLM2


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
        corrupt, apart_corrupt = base_block(references, prompts, sweep._corrupt)
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
            output, _ = reference._run(None, edits, inputs_embeds=before)
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
        assert np.allclose(_flat(bases[dtype], prompts, "loss"), known, rtol=0, atol=5e-5)
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


PARTS = {
    "dequant": make_dequant,
    "safetensors": make_safetensors,
    "tokenizers": make_tokenizers,
    "prompts": make_prompts,
    "random": make_random,
    "smollm2_tensors": make_smollm2_tensors,
    "smollm2_base": make_smollm2_base,
    "smollm2_scores": make_smollm2_scores,
    "smollm2_head_ablation": make_smollm2_head_ablation,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--gguf", type=Path, help="SmolLM2-135M-Instruct.Q4_1.gguf")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    unknown = set(arguments.parts) - set(PARTS)
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    for part in arguments.parts or PARTS:
        PARTS[part](arguments)


if __name__ == "__main__":
    main()
