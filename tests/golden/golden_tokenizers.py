"""Goldens of tokenizers: small ones in published styles, and those of two GGUF files."""

from golden_files import HERE, made_by, write_json
from golden_sentencepiece import sentencepiece_tokenizers, short_lines, write_scored_bpe
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)
from tokenizers.trainers import BpeTrainer

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

QWEN2_SPLIT = LLAMA3_SPLIT.replace(r"\p{N}{1,3}", r"\p{N}")


def digits_then_bytes():
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )


def _train(style):
    """A byte-level BPE tokenizer of about 400 tokens in a style of published files."""
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
        tokenizer.pre_tokenizer = digits_then_bytes()
    elif style == "neox":
        tokenizer.normalizer = normalizers.NFC()
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(
                    Regex(LLAMA3_SPLIT if style == "llama3" else QWEN2_SPLIT), "isolated"
                ),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
    if style == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
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


def _encodings(tokenizer, strings=STRINGS):
    cases = []
    for text in strings:
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
    """The tokenizer that transformers builds from a GGUF file."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name).backend_tokenizer


def with_digits_split(tokenizer):
    """The same with the split that a file of SmolLM asks for."""
    corrected = Tokenizer.from_str(tokenizer.to_str())
    corrected.pre_tokenizer = digits_then_bytes()
    return corrected


def make_styles():
    styles = [(s, _train(s)) for s in ("gpt2", "smollm", "llama3", "neox", "qwen2")]
    for style, tokenizer in [*styles, *sentencepiece_tokenizers(CORPUS)]:
        path = HERE / "tokenizers" / f"{style}-style" / "tokenizer.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        tokenizer.save(str(path), pretty=False)
        strings = STRINGS
        if style not in ("gpt2", "smollm", "llama3"):
            strings = STRINGS + short_lines(40, 5, 40)
        cases = _encodings(Tokenizer.from_file(str(path)), strings)
        content = {"made_by": made_by("tokenizers"), "tokenizer": str(path.relative_to(HERE))}
        content |= {"note": OFFSETS_NOTE, "vocab_size": tokenizer.get_vocab_size(), "cases": cases}
        write_json(f"tokenizer_{style.replace('-', '_')}_style.json", content)


def write_gguf(name, path, note, cases):
    content = {
        "made_by": made_by("transformers", "tokenizers", "gguf"),
        "gguf": path.name,
        "note": note,
        "offsets": OFFSETS_NOTE,
        "cases": cases,
    }
    write_json(name, content)


def make_smollm2(path):
    as_built = gguf_tokenizer(path)
    strings = STRINGS + short_lines(150, 3, 60)
    cases = _encodings(with_digits_split(as_built), strings)
    other = _encodings(as_built, strings)
    for case, raw in zip(cases, other, strict=True):
        if case["ids"] != raw["ids"]:
            case["ids_of_transformers"] = raw["ids"]
    note = (
        "The file's tokenizer.ggml.pre is smollm: digits are split off one by one, then the GPT-2 "
        "pattern applies to each piece. transformers ignores that key and uses the GPT-2 pattern "
        "alone; ids_of_transformers is given where that changes the result. The vocabulary lacks "
        "21 of the 256 bytes; those bytes vanish, so a text with one does not decode back."
    )
    write_gguf("tokenizer_smollm2.json", path, note, cases)


def make_gemma3(path):
    note = (
        "What transformers makes of the file: GemmaTokenizer, with merges in the order of the "
        "vocabulary. Nothing is put before a text but <bos>."
    )
    strings = STRINGS + short_lines(250, 4, 60)
    write_gguf("tokenizer_gemma3.json", path, note, _encodings(gguf_tokenizer(path), strings))


def make_tokenizers(arguments):
    make_styles()
    write_scored_bpe(CORPUS, STRINGS + short_lines(60, 6, 40))
    make_smollm2(arguments.gguf)
    models_folder = arguments.gguf.resolve().parent.parent
    make_gemma3(models_folder / "gemma3-270m" / "gemma-3-270m-q4_k_m.gguf")
