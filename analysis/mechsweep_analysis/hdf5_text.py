"""Attributes as mechsweep stores them: texts of fixed length, numbers, lists, JSON for the rest."""

import json
import math
import unicodedata

import numpy as np


def clean(words: str) -> str:
    """The text without what XML, HTML and UTF-8 forbid: controls, surrogates, noncharacters.

    Each is replaced, not dropped, so that damage shows. Tabs and line feeds stay.
    """
    return "".join(
        "\N{REPLACEMENT CHARACTER}" if _is_forbidden(character) else character
        for character in words.replace("\r\n", "\n")
    )


def _is_forbidden(character: str) -> bool:
    if character in "\t\n":
        return False
    return unicodedata.category(character) in ("Cc", "Cs") or ord(character) & 0xFFFE == 0xFFFE


def text(value) -> str:
    """Any attribute as clean text; bytes are UTF-8."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value.item()
    if isinstance(value, bytes):
        return clean(value.rstrip(b"\0").decode("utf-8", errors="replace"))
    if isinstance(value, np.ndarray):
        return ", ".join(text(item) for item in value.ravel())
    return clean(str(value))


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
            return [clean(str(item)) for item in parsed]
    return [whole] if whole else []


def parse_json(whole: str):
    """The parsed text, or None when it is not JSON."""
    try:
        return json.loads(whole)
    except ValueError:
        return None
