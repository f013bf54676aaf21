"""Small tokenizers in the styles of SentencePiece's models: BPE over characters and Unigram.

BPE comes with byte fallback and the three ways in which published files treat spaces; Unigram with
the normalisers of T5, ALBERT and of byte fallback. One more golden comes from SentencePiece itself:
BPE that merges by scores, which is how GGUF files store it.
"""

import base64
import json
import math
import tempfile
from pathlib import Path

from golden_files import made_by, write_json
from tokenizer_lines import lines
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

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]

# What spm_train of sentencepiece 0.2.3 makes of --normalization_rule_tsv with the rules below
# (code points in hexadecimal); see charsmap().
CHARSMAP_RULES = {
    "fb01": "66 69",
    "ff21": "41",
    "ff22": "42",
    "65 301": "e9",
    "bd": "31 2044 32",
    "a0": "20",
    "9": "20",
    "a": "20",
    "337f": "682a 5f0f 4f1a 793e",
    "ad": "",
    "200b": "20",
    "1f600": "3a 29",
}
CHARSMAP = (
    "AAQAAAAgAAAJCQAACgUAAAEAAIDMAAIAgQ0AABMAAICgEQAAgDwCAAAAAICtDQAAAwAAgIs9AACN8AIAvwUAABYAAI"
    "CBBQAAEAAAgAwAAIAOAACAoRkAAJ9sAgCYOAIAohEAAIAFAAAJAACAvUUAABoAAAAdAAAAHAAAAB8AAAAeAAAArMQC"
    "ACAAAAAjAAAAIgAAACUAAAAkAAAAJwAAACYAAAApAAAAKAAAACsAAAAqAAAALQAAACwAAAAvAAAALgAAALwUAgAwAA"
    "AAMwAAADIAAAA1AAAANAAAADcAAAA2AAAAOQAAADgAAAA7AAAAOgAAAD0AAAA8AAAAPwAAAD4AAABBAAAAQAAAAEMA"
    "AABCAAAARQAAAEQAAABHAAAARgAAAEkAAABIAAAASwAAAEoAAABNAAAATAAAAE8AAABOAAAAUQAAAFAAAABTAAAAUg"
    "AAAFUAAABUAAAAVwAAAFYAAABZAAAAWAAAAFsAAABaAAAAXQAAAFwAAABfAAAAXgAAAGEAAABgAAAAYwAAAGIAAABl"
    "AAAAZAAAAGcAAABmAAAAaQAAAGgAAABrAAAAagAAAG0AAABllAIAbwAAAG4AAABxAAAAcAAAAHMAAAByAAAAdQAAAH"
    "QAAAB3AAAAdgAAAHkAAAB4AAAAewAAAHoAAAB9AAAAfAAAAH8AAAB+AAAAgQAAAIAAAACDAAAAggAAAIUAAACEAAAA"
    "hwAAAIYAAACJAAAAiAAAAIsAAACKAAAAjQAAAIwAAACPAAAAjgAAAJEAAACQAAAAkwAAAJIAAACVAAAAlAAAAJcAAA"
    "CWAAAAmQAAAJgAAACbAAAAmgAAAJ0AAACcAAAAnwAAAJ4AAAChAAAAoAAAAKMAAACiAAAApQAAAKQAAACnAAAApgAA"
    "AKkAAACoAAAAqwAAAKoAAACtAAAArAAAAK8AAACuAAAAsQAAALAAAACzAAAAsgAAALUAAAC0AAAAtwAAALYAAAC5AA"
    "AAuAAAALsAAAC6AAAAvQAAALwAAAC/AAAAvgAAAMEAAADAAAAAwwAAAMIAAADFAAAAxAAAAMcAAADGAAAAyQAAAMgA"
    "AADCtAEAygAAAM0AAADMAAAAzwAAAM4AAADRAAAA0AAAANMAAADSAAAA1QAAANQAAADXAAAA1gAAANkAAADYAAAA2w"
    "AAANoAAADdAAAA3AAAAN8AAADeAAAA4QAAAOAAAADjAAAA4gAAAOUAAADkAAAA5wAAAO+sAQDpAAAA6AAAAOKIAQDj"
    "rAEA7QAAAOwAAADvAAAA7gAAAPEAAADwAAAA8wAAAPIAAAD1AAAA9AAAAPcAAAD2AAAA8MgBAPgAAAD7AAAA+gAAAP"
    "0AAAD8AAAA/wAAAP4AAAAAIAAx4oGEMgA6KQBBAEIAZmkAw6kA5qCq5byP5Lya56S+AA=="
)


def charsmap():
    """The compiled table of CHARSMAP_RULES, made anew."""
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2 as model

    with tempfile.TemporaryDirectory() as folder:
        rules = Path(folder, "rules.tsv")
        rules.write_text("".join(f"{a}\t{b}\n" for a, b in CHARSMAP_RULES.items()))
        Path(folder, "text").write_text("some text to train on\n" * 10)
        sentencepiece.SentencePieceTrainer.train(
            input=f"{folder}/text",
            model_prefix=f"{folder}/m",
            vocab_size=20,
            hard_vocab_limit=False,
            normalization_rule_tsv=str(rules),
            minloglevel=2,
        )
        proto = model.ModelProto()
        proto.ParseFromString(Path(folder, "m.model").read_bytes())
    return base64.b64encode(proto.normalizer_spec.precompiled_charsmap).decode()


def bpe_pieces(corpus, size):
    """Tokens and merges that BPE over characters learns, spaces written as U+2581."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    trainer = BpeTrainer(vocab_size=size, show_progress=False)
    tokenizer.train_from_iterator(corpus.split("\n"), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return sorted(model["vocab"], key=model["vocab"].get), [tuple(m) for m in model["merges"]]


def special(*names, **flags):
    return [AddedToken(name, special=True, normalized=False, **flags) for name in names]


def bpe_style(style, corpus):
    pieces, merges = bpe_pieces(corpus, 300)
    if style == "gemma":
        pieces += ["\u2581\u2581", "\u2581\u2581\u2581", "\n", "\n\n"]
        runs = [("\u2581", "\u2581"), ("\u2581", "\u2581\u2581"), ("\u2581\u2581", "\u2581")]
        merges = runs + merges
    vocabulary = {t: i for i, t in enumerate(["<unk>", "<s>", "</s>", *BYTES, *pieces])}
    model = models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(model)
    steps = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    if style == "gemma":
        tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
        tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
        tokenizer.add_tokens([AddedToken(t, normalized=False) for t in ("\n", "\n\n")])
    else:
        steps.append(decoders.Strip(" ", 1, 0))
    if style == "llama2":
        replace = normalizers.Replace(" ", "\u2581")
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), replace])
    if style == "mistral":
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(steps)
    tokenizer.add_special_tokens(special("<unk>", "<s>", "</s>"))
    tokenizer.add_tokens([AddedToken("<pad>", normalized=True), AddedToken("<sep>", rstrip=True)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    return tokenizer


def unigram_pieces(corpus, size):
    """Parts of words with the logarithms of how often they occur."""
    counts = {}
    for word in corpus.split():
        text = "\u2581" + word
        for begin in range(len(text)):
            for end in range(begin + 1, min(begin + 7, len(text) + 1)):
                counts[text[begin:end]] = counts.get(text[begin:end], 0) + 1
    gain = {t: n * len(t) for t, n in counts.items()}
    best = sorted(counts, key=lambda t: (len(t) > 1, -gain[t], t))[:size]
    total = sum(counts[t] for t in best)
    return [(t, round(math.log(counts[t] / total), 6)) for t in best]


def unigram_style(style, corpus):
    fallback = style == "bytes"
    pieces = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0)]
    pieces += [(token, -20.0) for token in BYTES] if fallback else []
    pieces += unigram_pieces(corpus.lower() if style == "albert" else corpus, 400)
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=fallback))
    metaspace = pre_tokenizers.Metaspace(prepend_scheme="always")
    table = normalizers.Precompiled(base64.b64decode(CHARSMAP))
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    if style == "t5":
        spaces = normalizers.Replace(Regex(" {2,}"), " ")
        tokenizer.normalizer = normalizers.Sequence([table, spaces])
        split = [pre_tokenizers.WhitespaceSplit(), metaspace]
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(split)
    elif style == "albert":
        quotes = [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
        accents = [normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()]
        strip = [table, normalizers.Strip(left=False, right=True)]
        tokenizer.normalizer = normalizers.Sequence(quotes + accents + strip)
        tokenizer.pre_tokenizer = metaspace
    else:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC()])
        split = [pre_tokenizers.Digits(True), pre_tokenizers.Punctuation()]
        split.append(pre_tokenizers.Metaspace(prepend_scheme="first"))
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(split)
        tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), tokenizer.decoder])
    tokenizer.add_special_tokens(special("<unk>", "<s>", "</s>"))
    tokenizer.add_special_tokens(special("<mask>", lstrip=True))
    tokenizer.add_tokens([AddedToken("<pad>", single_word=True)])
    tokenizer.add_tokens([AddedToken("<sep>", normalized=False)])
    return tokenizer


def write_scored_bpe(corpus, strings):
    """BPE of SentencePiece itself, with tokens, scores and types as a GGUF file holds them."""
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2 as model

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "text").write_text(corpus)
        sentencepiece.SentencePieceTrainer.train(
            input=f"{folder}/text",
            model_prefix=f"{folder}/m",
            model_type="bpe",
            vocab_size=600,
            byte_fallback=True,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            user_defined_symbols=["<pad>", "<sep>"],
            num_threads=1,
            minloglevel=2,
        )
        proto = model.ModelProto()
        proto.ParseFromString(Path(folder, "m.model").read_bytes())
    content = {
        "made_by": made_by() | {"script": "tests/golden/golden_sentencepiece.py"},
        "note": "types as in GGUF; encoded with and without a space in front of the text",
        "tokens": [piece.piece for piece in proto.pieces],
        "scores": [piece.score for piece in proto.pieces],
        "types": [piece.type for piece in proto.pieces],
        "cases": [],
    }
    content["made_by"]["sentencepiece"] = sentencepiece.__version__
    encoders = []
    for prefix in (True, False):
        proto.normalizer_spec.add_dummy_prefix = prefix
        encoder = sentencepiece.SentencePieceProcessor()
        encoder.LoadFromSerializedProto(proto.SerializeToString())
        encoders.append(encoder)
    for text in strings:
        # Control tokens that are written out are text to SentencePiece; a zero byte ends it.
        if any(s in text for s in ("<s>", "</s>", "<unk>", "<0x", "\u2581", "\x00")):
            continue
        # Where the user's tokens stand there is no space put in front of what follows.
        ids = [encoder.EncodeAsIds(text) for encoder in encoders]
        whole = "<pad>" not in text and "<sep>" not in text
        case = {"text": text, "ids": ids[1]}
        content["cases"].append(case | ({"prefixed": ids[0]} if whole else {}))
    write_json("tokenizer_scored_bpe.json", content)


def sentencepiece_tokenizers(corpus):
    """Names and tokenizers of all styles."""
    for style in ("llama2", "mistral", "gemma"):
        yield style, bpe_style(style, corpus)
    for style in ("t5", "albert", "bytes"):
        yield f"unigram-{style}", unigram_style(style, corpus)


def short_lines(count, seed, longest):
    return [text for text in lines(4 * count, seed) if len(text) <= longest][:count]
