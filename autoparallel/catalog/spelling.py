"""Guesses what a misspelt name was meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def closest(word: str, choices: Iterable[str]) -> str | None:
    """Return the choice that looks most like ``word``, or ``None`` where none does.

    Examples
    --------
    >>> closest("num_layer", ["num_hidden_layers", "hidden_size"])
    'num_hidden_layers'
    >>> closest("H100_SXM", ["h100-sxm", "h200-sxm"])
    'h100-sxm'
    >>> closest("zebra", ["h100-sxm"]) is None
    True
    """
    by_plain = {_plain(choice): choice for choice in choices}
    matches = difflib.get_close_matches(_plain(word), by_plain, n=1, cutoff=0.6)
    if matches:
        return by_plain[matches[0]]
    extended = [choice for plain, choice in by_plain.items() if plain.startswith(_plain(word)[:60])]
    return extended[0] if extended and word else None


def _plain(word: str) -> str:
    return word.lower().replace("_", "-").replace(" ", "-")


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return a sentence that proposes the closest choice, or else lists all of them.

    Examples
    --------
    >>> did_you_mean("statik", ["static"])
    'did you mean "static"?'
    >>> did_you_mean("x", ["a", "b"])
    'choose one of: a, b'
    """
    listed = tuple(choices)
    guess = closest(word, listed)
    if guess is not None:
        return f'did you mean "{guess}"?'
    return f"choose one of: {', '.join(listed)}"
