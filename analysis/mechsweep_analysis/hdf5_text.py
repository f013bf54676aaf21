"""Attributes as mechsweep stores them: texts of fixed length, numbers, lists, JSON for the rest."""

import json
import math

import numpy as np


def text(value) -> str:
    """Any attribute as text; bytes are UTF-8."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value.item()
    if isinstance(value, bytes):
        return value.rstrip(b"\0").decode("utf-8", errors="replace")
    if isinstance(value, np.ndarray):
        return ", ".join(text(item) for item in value.ravel())
    return str(value)


def number(value) -> float:
    """A number, or NaN where there is none (JSON null is stored as text)."""
    try:
        return float(np.asarray(value).ravel()[0])
    except (TypeError, ValueError, IndexError):
        return math.nan


def texts(value) -> list[str]:
    """A list of texts. An empty list is stored as the JSON text "[]"; one text may stand alone."""
    if value is None:
        return []
    if isinstance(value, np.ndarray) and value.ndim > 0:
        return [text(item) for item in value.ravel() if text(item)]
    whole = text(value)
    if whole.startswith("["):
        parsed = parse_json(whole)
        if isinstance(parsed, list):
            return [str(item) for item in parsed]
    return [whole] if whole else []


def parse_json(whole: str):
    """The parsed text, or None when it is not JSON."""
    try:
        return json.loads(whole)
    except ValueError:
        return None
