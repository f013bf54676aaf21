"""What the seeds of all readers share."""

import json
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"

EDGES = {
    "int32": 2**31 - 1,
    "above_int32": 2**31,
    "uint32": 2**32 - 1,
    "int64": 2**63 - 1,
    "above_int64": 2**63,
    "uint64": 2**64 - 1,
    "above_uint64": 2**64,
    "negative": -1,
}
DEEP = 100_000


def deep_lists():
    return b"[" * DEEP + b"]" * DEEP


def deep_objects():
    return b'{"a":' * DEEP + b"1" + b"}" * DEEP


def with_deep_value(document, key):
    """The document with a deep list as the value of a key of its top level."""
    text = json.dumps(document | {key: "@deep@"})
    return text.encode().replace(b'"@deep@"', deep_lists())


def as_bytes(document):
    return json.dumps(document, separators=(",", ":")).encode()
