"""Turns what pydantic finds into faults that people can act on."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from autoparallel.catalog.spelling import closest, did_you_mean
from autoparallel.errors import Fault
from autoparallel.problem_file.document import Document
from autoparallel.problem_file.positions import Path
from autoparallel.problem_file.schema import NESTED
from autoparallel.problem_file.section import Section

AnySection = TypeVar("AnySection", bound=Section)

_QUOTED = re.compile(r"'([^']*)'")

# Other names by which people know a key or a value.
_ALSO_KNOWN_AS = {
    "num_local_experts": "num_experts",
    "n_routed_experts": "num_experts",
    "top_k": "num_experts_per_tok",
    "num_layers": "num_hidden_layers",
    "n_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "num_kv_heads": "num_key_value_heads",
    "torch_dtype": "weights_dtype",
    "dtype": "weights_dtype",
    "hbm_gb": "memory_gb",
    "cp": "sp",
    "isl": "prompt_tokens",
    "osl": "output_tokens",
    "fp16": "float16",
    "bf16": "bfloat16",
    "fp32": "float32",
}


@dataclass
class Faults:
    """Collects everything wrong with one document.

    ``inherited`` says for fields that do not stand in the document where they come from; ``notes`` are
    sentences on what had to be assumed.
    """

    document: Document
    found: list[Fault] = field(default_factory=list)
    inherited: dict[Path, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, path: Path, message: str) -> None:
        """Note a fault at ``path``."""
        origin = self.inherited.get(path[:2])
        self.found.append(self.document.fault(path, f"{message} ({origin})" if origin else message))


# A section with more keys is not listed in a message.
MOST_NAMED = 12


def checked(
    section: type[AnySection], raw: Mapping[str, Any], path: Path, faults: Faults
) -> tuple[AnySection, frozenset[str]]:
    """Validate a table and note all its faults.

    Returns
    -------
    Section
        The fields that are right.
    frozenset of str
        The keys that are wrong; they are absent from the section.
    """
    try:
        return section.model_validate(dict(raw)), frozenset()
    except ValidationError as error:
        details = error.errors(include_url=False)
    bad = frozenset(str(detail["loc"][0]) for detail in details)
    for detail in details:
        faults.add((*path, *_location(detail, raw)), _message(detail, section))
    return section.model_validate({key: value for key, value in raw.items() if key not in bad}), bad


def _location(detail: ErrorDetails, raw: Mapping[str, Any]) -> Path:
    """Cut pydantic's path where the file has a plain value that was taken for a table or a list."""
    path: list[str | int] = []
    value: Any = raw
    for part in detail["loc"]:
        if isinstance(value, dict) and part != "[key]":
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int):
            value = value[part]
        else:
            break
        path.append(part)
    return tuple(path)


def shown(value: Any) -> str:
    """Write a value as TOML does, shortened."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value[:60]}"'
    if isinstance(value, (dict, list)):
        return "a table" if isinstance(value, dict) else "a list"
    if isinstance(value, int) and abs(value) >= 10**15:
        return "a number of more than 15 digits"
    return str(value)


def _unknown_key(detail: ErrorDetails, section: type[Section]) -> str:
    *tables, key = detail["loc"]
    meant = _ALSO_KNOWN_AS.get(str(key))
    names = (NESTED[str(tables[0])] if tables else section).model_fields
    guess = meant if meant in names else closest(str(key), names)
    if guess:
        return f'unknown key; did you mean "{guess}"?'
    few = len(names) <= MOST_NAMED
    return f"unknown key; known {'are ' + ', '.join(names) if few else 'ones: `autoparallel schema`'}"


def _not_a_choice(detail: ErrorDetails, _section: type[Section]) -> str:
    choices = _QUOTED.findall(detail["ctx"]["expected"])
    word = detail["input"]
    if not isinstance(word, str):
        return f"must be one of {', '.join(choices)}, not {shown(word)}"
    meant = _ALSO_KNOWN_AS.get(word)
    hint = f'did you mean "{meant}"?' if meant in choices else did_you_mean(word, choices)
    return f"{shown(word)} is not known; {hint}"


def _wrong_type(noun: str) -> Callable[[ErrorDetails, type[Section]], str]:
    def message(detail: ErrorDetails, _section: type[Section]) -> str:
        value = detail["input"]
        hint = ""
        if isinstance(value, str) and noun.startswith(("a number", "a whole")) and _is_number(value):
            hint = "; write it without quotes"
        elif isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
            hint = f"; write {int(value)}"
        return f"must be {noun}, not {shown(value)}{hint}"

    return message


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _bound(words: str, limit: str) -> Callable[[ErrorDetails, type[Section]], str]:
    def message(detail: ErrorDetails, _section: type[Section]) -> str:
        return f"must be {words} {int(detail['ctx'][limit]):,}, not {shown(detail['input'])}"

    return message


_MESSAGES: dict[str, Callable[[ErrorDetails, type[Section]], str]] = {
    "extra_forbidden": _unknown_key,
    "literal_error": _not_a_choice,
    "missing": lambda _detail, _section: "is missing",
    "finite_number": lambda detail, _section: f"must be a finite number, not {shown(detail['input'])}",
    "int_type": _wrong_type("a whole number"),
    "int_from_float": _wrong_type("a whole number"),
    "float_type": _wrong_type("a number"),
    "string_type": _wrong_type("a string"),
    "bool_type": _wrong_type("true or false"),
    "list_type": _wrong_type("a list"),
    "dict_type": _wrong_type("a table"),
    "model_type": _wrong_type("a table"),
    "greater_than": _bound("greater than", "gt"),
    "greater_than_equal": _bound("at least", "ge"),
    "less_than": _bound("less than", "lt"),
    "less_than_equal": _bound("at most", "le"),
    "string_too_short": lambda _detail, _section: "must not be empty",
    "too_short": lambda _detail, _section: "must not be empty",
}


def _message(detail: ErrorDetails, section: type[Section]) -> str:
    known = _MESSAGES.get(detail["type"])
    return known(detail, section) if known else detail["msg"]
