"""Seeds for the readers of config.json and tokenizer.json."""

import json

from seed_parts import DEEP, EDGES, GOLDEN, as_bytes, deep_lists, with_deep_value


def config_seeds():
    for folder in sorted((GOLDEN / "checkpoints").iterdir()):
        yield folder.name, as_bytes(json.loads((folder / "config.json").read_text()))
    base = json.loads((GOLDEN / "checkpoints" / "llama-rope-yarn" / "config.json").read_text())
    gemma = json.loads((GOLDEN / "checkpoints" / "gemma3-pattern" / "config.json").read_text())
    for name, number in EDGES.items():
        for key in ("num_hidden_layers", "vocab_size", "num_attention_heads", "hidden_size"):
            yield f"{key}_{name}", as_bytes(base | {key: number})
        yield f"windows_{name}", as_bytes(gemma | {"num_hidden_layers": number})
        yield f"pattern_{name}", as_bytes(gemma | {"sliding_window_pattern": number})
    yield "deep_layers", with_deep_value(base, "num_hidden_layers")
    yield "deep_rope", with_deep_value(base, "rope_scaling")
    yield "deep_unread", with_deep_value(base, "something_else")
    yield "deep", deep_lists()
    yield "twice", as_bytes(base)[:-1] + b',"vocab_size":7}'


def tokenizer_seeds():
    for folder in sorted((GOLDEN / "tokenizers").iterdir()):
        yield folder.name, as_bytes(json.loads((folder / "tokenizer.json").read_text()))
    sound = {
        "added_tokens": [{"id": 4, "content": "<s>", "special": True}],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
        "model": {
            "type": "BPE",
            "vocab": {"a": 0, "b": 1, "ab": 2, "\u0120": 3, "<s>": 4},
            "merges": [["a", "b"]],
        },
        "decoder": {"type": "ByteLevel"},
    }
    settings = {"bos_token": "<s>", "add_bos_token": True, "eos_token": {"content": "<s>"}}
    yield "small", as_bytes(sound)
    yield "settings", as_bytes(sound) + b"\0" + as_bytes(settings)

    def changed(**model):
        return as_bytes(sound | {"model": sound["model"] | model})

    vocabulary = sound["model"]["vocab"]
    yield (
        "cycle",
        changed(vocab=vocabulary | {"ba": 5, "aba": 6}, merges=["a b", "b a", "ab a", "a ba"]),
    )
    yield "cycle_empty", changed(vocab=vocabulary | {"": 5}, merges=[["", "a"], ["a", ""]])
    yield "same_merge", changed(merges=["a b", "a b"])
    yield "missing_part", changed(merges=["x y"])
    for name, number in EDGES.items():
        yield f"id_{name}", changed(vocab={"a": 0, "b": number})
        added = [{"id": number, "content": "<x>"}]
        yield f"added_{name}", as_bytes(sound | {"added_tokens": added})
    growth = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 50}
    yield (
        "growth",
        as_bytes(sound | {"normalizer": {"type": "Sequence", "normalizers": [growth] * 20}}),
    )
    for name, pattern in {
        "backtracking": "(a+)+$",
        "backtracking_space": r"(\s*\S*)*x",
        "look_behind": "(?<=a)b",
        "empty": "",
        "empty_matches": "a*",
        "cut": "\\",
        "group": "(" * 300,
    }.items():
        step = {
            "type": "Split",
            "pattern": {"Regex": pattern},
            "behavior": "Isolated",
            "invert": False,
        }
        yield f"pattern_{name}", as_bytes(sound | {"pre_tokenizer": step})
    yield (
        "charsmap",
        as_bytes(
            sound | {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "BAAAAAAAAAA="}}
        ),
    )
    unigram = {
        "type": "Unigram",
        "unk_id": 0,
        "vocab": [["<unk>", 0.0], ["\u2581", -2.0], ["a", -3.0], ["ab", -1.0]],
    }
    metaspace = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always"}
    yield "unigram", as_bytes({"model": unigram, "pre_tokenizer": metaspace, "decoder": metaspace})
    scores = [["<unk>", 0.0], ["a", 1e308], ["aa", 1e308]]
    yield "unigram_scores", as_bytes({"model": unigram | {"vocab": scores}})
    yield "deep", deep_lists()
    yield "deep_model", with_deep_value(sound, "model")
    yield "deep_added", with_deep_value(sound, "added_tokens")
    steps = b'{"type":"Sequence","normalizers":[' * (DEEP // 4) + b"]}" * (DEEP // 4)
    yield "deep_steps", as_bytes(sound | {"normalizer": "@"}).replace(b'"@"', steps)
