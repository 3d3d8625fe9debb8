"""Commands of containers in a manifest of Kubernetes or Docker Compose, as the lines of a script."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

# Words that a shell takes before the text of a script.
_SCRIPT = ("-c", "-lc", "-ec", "-euc")


def script_of(text: str) -> str | None:
    """What the containers of a manifest start, a line each; ``None`` where the text is no manifest.

    Examples
    --------
    >>> print(script_of("services: {llm: {image: vllm/vllm-openai, command: [--model, m, -tp, '8']}}"))
    vllm/vllm-openai --model m -tp 8
    """
    import yaml

    try:
        documents = list(yaml.safe_load_all(text))
    except (yaml.YAMLError, ValueError, RecursionError):
        return None
    tables = [table for table in documents if isinstance(table, dict)]
    if not any(name in table for table in tables for name in ("kind", "services")):
        return None
    return "\n".join(_lines(tables))


def _lines(tables: list[Any]) -> Iterator[str]:
    """Of every container, in the order of the text; what an alias repeats is looked at once."""
    left, seen = tables[::-1], set[int]()
    while left:
        item = left.pop()
        if not isinstance(item, dict | list) or id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, dict) and isinstance(item.get("image"), str):
            yield _line(item)
        else:
            left += [*(item.values() if isinstance(item, dict) else item)][::-1]


def _line(container: dict[str, Any]) -> str:
    words = [word for key in ("entrypoint", "command", "args") for word in _words(container.get(key))]
    scripts = [after for word, after in pairwise(words) if word in _SCRIPT]
    if scripts:
        return "\n".join([*_variables(container), scripts[0]])
    return shlex.join([*_variables(container), container["image"], *words])


def _words(value: Any) -> list[str]:
    if isinstance(value, str):
        try:
            return shlex.split(value)
        except ValueError:
            return []
    return [str(word) for word in value] if isinstance(value, list) else []


def _variables(container: dict[str, Any]) -> list[str]:
    """Variables of a container: a list of names and values, or Compose's table or list of settings."""
    found = container.get("env") or container.get("environment") or []
    if isinstance(found, dict):
        return [f"{name}={value}" for name, value in found.items()]
    pairs = (item for item in found if isinstance(item, dict)) if isinstance(found, list) else ()
    return [f"{pair.get('name')}={pair['value']}" for pair in pairs if "value" in pair]
