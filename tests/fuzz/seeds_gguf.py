"""Seeds for the reader of GGUF files: small models, and hostile ones."""

import struct

from seed_parts import DEEP, EDGES, GOLDEN


class Gguf:
    """A GGUF file in the making; numbers are u32 unless they say otherwise."""

    def __init__(self):
        self.entries, self.tensors, self.data = [], [], b""
        self.count_of_tensors = self.count_of_entries = None
        self.version = 3

    @staticmethod
    def text(value):
        raw = value if isinstance(value, bytes) else value.encode()
        return struct.pack("<Q", len(raw)) + raw

    def value(self, value):
        if isinstance(value, bool):
            return 7, struct.pack("<?", value)
        if isinstance(value, int):
            return (
                (4, struct.pack("<I", value)) if value < 2**32 else (10, struct.pack("<Q", value))
            )
        if isinstance(value, float):
            return 6, struct.pack("<f", value)
        if isinstance(value, str | bytes):
            return 8, self.text(value)
        items = [self.value(item) for item in value]
        kind = items[0][0] if items else 4
        return 9, struct.pack("<IQ", kind, len(items)) + b"".join(raw for _, raw in items)

    def set(self, **values):
        for key, value in values.items():
            self.add(key.replace("__", "."), value)
        return self

    def add(self, key, value):
        kind, raw = self.value(value)
        return self.raw(key, kind, raw)

    def raw(self, key, kind, raw):
        self.entries.append(self.text(key) + struct.pack("<I", kind) + raw)
        return self

    def tensor(self, name, dimensions, kind=0, data=None, offset=None):
        if data is None:
            count = 1
            for dimension in dimensions:
                count *= dimension
            data = b"\0\0\x80\x3e" * count
        self.data += b"\0" * (-len(self.data) % 32)
        self.tensors.append(
            self.text(name)
            + struct.pack("<I", len(dimensions))
            + b"".join(struct.pack("<Q", d) for d in dimensions)
            + struct.pack("<IQ", kind, len(self.data) if offset is None else offset)
        )
        self.data += data
        return self

    def bytes(self):
        tensors = len(self.tensors) if self.count_of_tensors is None else self.count_of_tensors
        entries = len(self.entries) if self.count_of_entries is None else self.count_of_entries
        head = b"GGUF" + struct.pack("<IQQ", self.version, tensors, entries)
        head += b"".join(self.entries) + b"".join(self.tensors)
        return head + b"\0" * (-len(head) % 32) + self.data


LETTERS = [chr(c) for c in range(ord("a"), ord("z") + 1)]


def add_byte_level_tokenizer(file, pre="gpt-2"):
    merges = ["t h", "th e", "\u0120 the", "a n"]
    tokens = ["<s>", "</s>", "\u0120", "\u010a", *LETTERS, *(m.replace(" ", "") for m in merges)]
    file.set(
        tokenizer__ggml__model="gpt2",
        tokenizer__ggml__pre=pre,
        tokenizer__ggml__tokens=tokens,
        tokenizer__ggml__token_type=[3, 3] + [1] * (len(tokens) - 2),
        tokenizer__ggml__merges=merges,
        tokenizer__ggml__bos_token_id=0,
        tokenizer__ggml__eos_token_id=1,
        tokenizer__ggml__add_bos_token=True,
    )
    return len(tokens)


def add_sentencepiece_tokenizer(file):
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    kinds = [2, 3, 3] + [6] * 256
    words = ["\u2581", *LETTERS, "th", "the", "\u2581the", "  "]
    scores = [0.0] * len(tokens) + [-float(i) for i in range(len(words))]
    file.set(
        tokenizer__ggml__model="llama",
        tokenizer__ggml__tokens=tokens + words,
        tokenizer__ggml__token_type=kinds + [1] * (len(words) - 1) + [4],
        tokenizer__ggml__scores=scores,
        tokenizer__ggml__bos_token_id=1,
        tokenizer__ggml__eos_token_id=2,
        tokenizer__ggml__unknown_token_id=0,
        tokenizer__ggml__add_space_prefix=True,
    )
    return len(tokens) + len(words)


def gguf_model(name, sentencepiece=False, extra=None):
    width, heads, kv_heads, size, hidden = 8, 2, 1, 4, 12
    file = Gguf().add("general.architecture", name)
    for key, value in {
        "block_count": 1,
        "attention.head_count": heads,
        "attention.head_count_kv": heads if name == "gpt2" else kv_heads,
        "attention.key_length": size,
        "attention.value_length": size,
        "embedding_length": width,
        "feed_forward_length": hidden,
        "context_length": 32,
        (
            "attention.layer_norm_epsilon" if name == "gpt2" else "attention.layer_norm_rms_epsilon"
        ): 1e-5,
        **(extra or {}),
    }.items():
        file.add(f"{name}.{key}", value)
    vocabulary = (
        add_sentencepiece_tokenizer(file) if sentencepiece else add_byte_level_tokenizer(file)
    )
    shapes = {
        "token_embd.weight": [width, vocabulary],
        "blk.0.attn_norm.weight": [width],
        "blk.0.attn_output.weight": [heads * size, width],
        "blk.0.ffn_norm.weight": [width],
        "blk.0.ffn_up.weight": [width, hidden],
        "blk.0.ffn_down.weight": [hidden, width],
        "output_norm.weight": [width],
    }
    if name == "gpt2":
        shapes |= {
            "position_embd.weight": [width, 32],
            "blk.0.attn_qkv.weight": [width, 3 * width],
            "blk.0.attn_qkv.bias": [3 * width],
            "blk.0.ffn_up.bias": [hidden],
        }
        for bias in (
            "blk.0.attn_norm",
            "blk.0.attn_output",
            "blk.0.ffn_norm",
            "blk.0.ffn_down",
            "output_norm",
        ):
            shapes[f"{bias}.bias"] = [width]
    else:
        shapes |= {
            "blk.0.attn_q.weight": [width, heads * size],
            "blk.0.attn_k.weight": [width, kv_heads * size],
            "blk.0.attn_v.weight": [width, kv_heads * size],
            "blk.0.ffn_gate.weight": [width, hidden],
        }
    if name.startswith("gemma"):
        for norm in ("post_attention_norm", "post_ffw_norm"):
            shapes[f"blk.0.{norm}.weight"] = [width]
    if name in ("gemma3", "qwen3"):
        for norm in ("attn_q_norm", "attn_k_norm"):
            shapes[f"blk.0.{norm}.weight"] = [size]
    for tensor, dimensions in shapes.items():
        file.tensor(tensor, dimensions)
    return file


def gguf_seeds():
    yield "formats", (GOLDEN / "formats.gguf").read_bytes()
    yield "llama", gguf_model("llama", extra={"rope.freq_base": 500000.0}).bytes()
    yield "llama_sentencepiece", gguf_model("llama", sentencepiece=True).bytes()
    yield (
        "gemma2",
        gguf_model(
            "gemma2", extra={"attn_logit_softcapping": 50.0, "attention.sliding_window": 8}
        ).bytes(),
    )
    yield "gemma3", gguf_model("gemma3", extra={"attention.sliding_window": 8}).bytes()
    for name in ("gpt2", "qwen2", "qwen3"):
        yield name, gguf_model(name).bytes()
    yield "tied_twice", gguf_model("llama").tensor("token_embd.weight", [8, 8]).bytes()
    every_type = Gguf()
    for kind, raw in {
        0: b"\1",
        1: b"\xff",
        2: b"\1\0",
        3: b"\1\0",
        4: b"\1\0\0\0",
        5: b"\1\0\0\0",
        6: b"\0\0\x80\x3f",
        7: b"\1",
        8: Gguf.text("x"),
        10: b"\1" + b"\0" * 7,
        11: b"\xff" * 8,
        12: b"\0" * 8,
    }.items():
        every_type.raw(f"k{kind}", kind, raw)
    nested = struct.pack("<IQ", 9, 1) * 3 + struct.pack("<IQ", 4, 1) + b"\1\0\0\0"
    yield "every_type", every_type.raw("nested", 9, nested).bytes()
    yield "deep_arrays", Gguf().raw("deep", 9, struct.pack("<IQ", 9, 1) * DEEP).bytes()
    for name, count in EDGES.items():
        if not 0 <= count < 2**64:
            continue
        for what in ("count_of_tensors", "count_of_entries"):
            file = Gguf().add("a", 1).tensor("t", [4])
            setattr(file, what, count)
            yield f"{what}_{name}", file.bytes()
        yield f"items_{name}", Gguf().raw("a", 9, struct.pack("<IQ", 0, count) + bytes(64)).bytes()
        yield f"text_{name}", Gguf().raw("a", 8, struct.pack("<Q", count) + bytes(64)).bytes()
        yield f"dimension_{name}", Gguf().tensor("t", [count, 2], data=bytes(64)).bytes()
        yield f"offset_{name}", Gguf().tensor("t", [4], offset=count // 32 * 32).bytes()
        yield f"alignment_{name}", Gguf().add("general.alignment", count).tensor("t", [4]).bytes()
        yield (
            f"layers_{name}",
            Gguf()
            .add("general.architecture", "gemma3")
            .raw("gemma3.block_count", 10, struct.pack("<Q", count))
            .bytes(),
        )
    yield "overlap", Gguf().tensor("t", [32]).tensor("u", [32], offset=32).bytes()
    yield (
        "cycle",
        Gguf()
        .set(
            tokenizer__ggml__model="gpt2",
            tokenizer__ggml__pre="gpt-2",
            tokenizer__ggml__tokens=["a", "b", "ab", ""],
            tokenizer__ggml__merges=["a b", "ab b", "b a"],
        )
        .bytes(),
    )
    version_2 = gguf_model("llama")
    version_2.version = 2
    yield "version_2", version_2.bytes()
