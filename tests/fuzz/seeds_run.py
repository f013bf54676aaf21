"""Seeds for the readers of a run's own files: prompts, interventions, YAML."""

import json

from seed_parts import EDGES, GOLDEN, ROOT, as_bytes, deep_lists, deep_objects, with_deep_value


def first_lines(path, count):
    return b"".join(path.read_bytes().splitlines(keepends=True)[:count])


def prompts_seeds():
    for path in sorted((GOLDEN / "prompts").glob("*.jsonl")):
        yield path.stem, first_lines(path, 3)
    every_field = {
        "id": "one",
        "text": "The cat sat on the mat",
        "corrupt_text": "The dog sat on the mat",
        "answer": " and",
        "wrong": [" or", 7],
        "spans": {"first": [0, 2]},
        "span_text": {"animal": "cat"},
        "pairs": {"back": [[-1, 0], [3, 2]]},
        "template": "t",
    }
    ids = {
        "tokens": [1, 2, 3, 4],
        "corrupt_tokens": [1, 2, 3, 5],
        "targets": [{"at": -1, "answer": 3, "wrong": [4]}, {"at": 0, "answer": "a"}],
        "corrupt_targets": [{"at": 1, "answer": 3}],
        "prefix_length": 1,
    }
    yield "fields", as_bytes(every_field) + b"\n" + as_bytes(ids) + b"\n"
    for name, number in EDGES.items():
        yield f"token_{name}", as_bytes(ids | {"tokens": [number] * 4})
        yield f"position_{name}", as_bytes(ids | {"targets": [{"at": number, "answer": 1}]})
        yield f"span_{name}", as_bytes(ids | {"spans": {"s": [0, number]}})
    yield "deep", deep_lists()
    yield "deep_objects", deep_objects()
    yield "deep_tokens", with_deep_value(ids, "tokens")
    yield "not_utf8", b'{"text":"\xff\xfe"}\n{"\xff":1}\n'
    yield "controls", b'{"id":"a\\u0000\\u001b[31m","tokens":[1],"tok\\nens":[1]}\n'
    yield "long_key", b'{"' + b"x" * 100_000 + b'":1}\n'


def interventions_seeds():
    for path in sorted((GOLDEN / "edits").glob("*.interventions.jsonl")):
        yield path.name.replace(".", "_"), first_lines(path, 6)
    edit = {"site": "z", "layer": 0, "heads": [0], "positions": [0], "operation": "zero"}
    header = json.loads(
        (GOLDEN / "edits" / "vectors.safetensors").read_bytes()[8:].split(b"}}")[0] + b"}}"
    )
    tensor = next(key for key in header if key != "__metadata__")
    vector = {"file": "vectors.safetensors", "tensor": tensor}
    yield "vector", as_bytes({"edits": [edit | {"operation": "replace", "value": vector}]})
    for name, path in {
        "folder": ".",
        "device": "/dev/zero",
        "missing": "none",
        "itself": "edits.jsonl",
    }.items():
        bad = edit | {"operation": "replace", "value": vector | {"file": path}}
        yield f"vector_{name}", as_bytes({"edits": [bad]})
    for name, number in EDGES.items():
        yield f"layer_{name}", as_bytes({"edits": [edit | {"layer": number}]})
        yield f"heads_{name}", as_bytes({"edits": [edit | {"heads": [number]}]})
    yield "deep", with_deep_value({"id": "a"}, "edits")
    yield "not_utf8", b'{"id":"\xff"}\n{"edits":[{"site":"\xff"}]}\n'
    yield "controls", b'{"id":"a\\u001b","edits":[{"si\\nte":"z"}]}\n'


def yaml_seeds():
    for path in sorted((ROOT / "configs").glob("*.yaml")):
        yield path.stem, path.read_bytes()
    yield (
        "aliases",
        b"a: &a [1, 2]\nb: &b [*a, *a, *a, *a]\nc: &c [*b, *b, *b, *b]\nd: [*c, *c, *c]\n",
    )
    yield (
        "bomb",
        b"a0: &a0 [x]\n"
        + b"".join(
            f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n".encode() for i in range(1, 20)
        ),
    )
    yield "cycle", b"a: &a [*a]\n"
    yield "merge", b"a: &a {b: 1}\nc:\n  <<: *a\n"
    yield "tag", b"a: !!python/object:os.system x\n"
    yield "twice", b"a: 1\na: 2\n"
    yield "deep", b"[" * 5000
    yield "deep_blocks", b"".join(b" " * i + b"a:\n" for i in range(300))
    yield "block", b"a: |\n  text\n   more\nb: >-\n  folded\n"
    yield "quotes", b"a: 'it''s'\nb: \"\\u00e9\\x41\"\n? c\n: d\n"
    yield "not_utf8", b"a: \xff\n"
