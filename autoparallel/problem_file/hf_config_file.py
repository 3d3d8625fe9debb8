"""A Hugging Face ``config.json`` as it is read: its fields, each checked, and what no field says."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from autoparallel.errors import Fault, ProblemError
from autoparallel.problem_file.document import read_text
from autoparallel.problem_file.hf_config_names import SYNONYMS, unread_fields

# What to do where the file is missing.
OR_CONFIG = "name a model's config.json, or the folder that has it"
# Where multimodal models keep the configuration of their language model.
NESTED = ("text_config", "llm_config", "language_config")
# Where models that also speak keep the part that thinks (Qwen3-Omni).
_AROUND_ALL = "thinker_config"
# Where DBRX and MPT keep the fields of one kind of module; each has the name that others give it at the top.
_OF_MODULES = ("attn_config", "ffn_config")
# What a nested configuration may leave to the one around it.
_AROUND = ("dtype", "torch_dtype", "tie_word_embeddings", "quantization_config", "compression_config")
# Depth of lists and tables beyond which nothing is a configuration.
_DEEPEST = 20
_SHOWN = 60


def read_json(path: Path) -> tuple[dict[str, Any], str]:
    """Read a JSON object and return it with its text.

    Raises
    ------
    ProblemError
        The file cannot be read, is not JSON, or holds no object.
    """
    file = str(path)
    text = read_text(path, otherwise=OR_CONFIG)
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise ProblemError([Fault(f"is not valid JSON: {error.msg}", file=file, line=error.lineno)]) from None
    except RecursionError:
        raise ProblemError([Fault("is nested too deeply", file=file)]) from None
    except ValueError:
        raise ProblemError([Fault("has a number of too many digits", file=file)]) from None
    if not isinstance(content, dict):
        raise ProblemError([Fault("is no JSON object, so no config.json of a model", file=file)])
    if _depth(content) > _DEEPEST:
        raise ProblemError([Fault("is nested too deeply", file=file)])
    return content, text


def _depth(content: Any) -> int:
    """Levels of lists and tables, counted no further than matters."""
    depth, level = 0, [content]
    while level and depth <= _DEEPEST:
        inner = [item.values() if isinstance(item, dict) else item for item in level]
        level = [value for values in inner for value in values if isinstance(value, (dict, list))]
        depth += 1
    return depth


@cache
def _data() -> dict[str, Any]:
    text = (resources.files("autoparallel.problem_file") / "hf_classes.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def unsupported_fields() -> Mapping[str, str]:
    """Return the fields of which a model cannot be counted, each with why."""
    fields: dict[str, str] = _data()["unsupported"]
    return fields


@cache
def class_facts() -> Mapping[str, Mapping[str, Any]]:
    """Return what the classes of transformers say where a configuration does not, by ``model_type``."""
    tables: dict[str, dict[str, Any]] = _data()["classes"]
    return {name: {**tables.get(table.get("like", ""), {}), **table} for name, table in tables.items()}


class HfConfig:
    """The fields of a ``config.json``; those of its language model where it has several.

    A getter returns ``None`` for what is absent, null or wrong; what is wrong is noted in ``faults``, unless
    ``told``, the keys of ``[model]`` that the user gives, has it.

    Attributes
    ----------
    faults : list of Fault
        Everything wrong so far.
    assumptions : list of str
        A sentence for each thing that no field says.
    """

    def __init__(self, path: Path, told: Collection[str] = ()) -> None:
        self.file, self._told = str(path), frozenset(told)
        self.top, self._text = read_json(path)
        inside = self.top.get(_AROUND_ALL)
        if isinstance(inside, dict):
            self.top = {**self.top, **inside}
        self._read: set[str] = set()
        self.faults: list[Fault] = []
        self.assumptions: list[str] = []
        self.nested = next((key for key in NESTED if isinstance(self.top.get(key), dict)), "")
        if "num_hidden_layers" in self.top:
            self.nested = ""
        self._fields: Mapping[str, Any] = self.top[self.nested] if self.nested else self.top
        for key in _OF_MODULES:
            table = self._fields.get(key)
            if isinstance(table, dict):
                self._fields = {**table, **self._fields}
                self._read.add(key)
        inner, outer = self._fields.get("model_type"), self.top.get("model_type")
        self.model_type = str(inner if isinstance(inner, str) else outer if isinstance(outer, str) else "")
        self.facts = class_facts().get(self.model_type, {})

    def fault(self, key: str, message: str, *, remedy: str = "") -> None:
        """Note a fault of a field, unless the user has told it, or the ``remedy``, in ``[model]``."""
        if (remedy or key) in self._told:
            return
        quoted = f'"{key.split(".", maxsplit=1)[0]}"'
        once = self._text.count(quoted) == 1
        line = self._text.count("\n", 0, self._text.find(quoted)) + 1 if once else 0
        self.faults.append(Fault(message, file=self.file, line=line, key=key))

    def assume(self, sentence: str) -> None:
        """Note what is taken for granted."""
        if sentence not in self.assumptions:
            self.assumptions.append(sentence)

    def is_given(self, key: str) -> bool:
        """Whether the file has the field, null included."""
        self._read.add(key)
        key = self._named(key)
        return key in self._fields or (key in _AROUND and key in self.top)

    def raw(self, key: str) -> Any:
        """The value of a field as it stands; ``None`` if absent."""
        self._read.add(key)
        key = self._named(key)
        value = self._fields.get(key)
        if value is None and key in _AROUND:
            value = self.top.get(key)
        return value

    def _named(self, key: str) -> str:
        """The name that the file has for a field: its own, or another word for it."""
        if key in self._fields:
            return key
        found = next((name for name in SYNONYMS.get(key, ()) if name in self._fields), key)
        self._read.add(found)
        return found

    def unread(self) -> Iterator[tuple[str, Any]]:
        """Fields that look like part of the architecture and that nobody has read."""
        return unread_fields(self._fields, self._read)

    def fact(self, key: str, *, told: bool = False) -> Any:
        """What the class of the ``model_type`` says for a field that is absent, if anything.

        ``told`` notes it as an assumption.
        """
        value = self.facts.get(key)
        if value is None or self.is_given(key):
            return None
        if told:
            self.assume(f"{key} is not given: {json.dumps(value)}, as of the class {self.model_type}.")
        return value

    def number(self, key: str, most: int, *, least: int = 0, told: bool = False) -> int | None:
        """A whole number between ``least`` and ``most``, else of the class."""
        value = self.raw(key)
        if value is None:
            value = self.fact(key, told=told)
        if value is None:
            return None
        if isinstance(value, list) and value and all(item == value[0] for item in value):
            # One number for each layer, all the same (Hunyuan).
            value = value[0]
        if isinstance(value, bool) or not isinstance(value, int):
            self.fault(key, f"must be a whole number, not {shown(value)}")
        elif not least <= value <= most:
            self.fault(key, f"must be between {least} and {most:,}, not {shown(value)}")
        else:
            return value
        return None

    def first_number(self, keys: Sequence[str], most: int) -> tuple[str, int | None]:
        """The first of several names for one number that is given; two that differ are a fault."""
        found = [(key, value) for key in keys if (value := self.number(key, most)) is not None]
        if not found:
            return keys[0], None
        key, value = found[0]
        for other, different in found[1:]:
            if different != value:
                self.fault(other, f"is {different}, but {key} is {value}: they should be the same")
        return key, value

    def flag(self, key: str, *, told: bool = False) -> bool | None:
        """True or false, else of the class."""
        value = self.raw(key)
        if value is None:
            value = self.fact(key, told=told)
        if value is None or isinstance(value, bool):
            return value
        self.fault(key, f"must be true or false, not {shown(value)}")
        return None

    def word(self, key: str) -> str | None:
        """A string, else of the class."""
        value = self.raw(key)
        if value is None:
            value = self.fact(key)
        if value is None or isinstance(value, str):
            return value
        self.fault(key, f"must be a string, not {shown(value)}")
        return None

    def numbers(self, key: str, most: int) -> tuple[int, ...] | None:
        """A list of whole numbers from 0 to ``most``."""
        value = self.raw(key)
        if value is None:
            return None
        whole = isinstance(value, list) and all(type(item) is int and 0 <= item <= most for item in value)
        if not whole:
            self.fault(key, f"must be a list of whole numbers from 0 to {most:,}")
            return None
        return tuple(value)

    def words(self, key: str) -> tuple[str, ...] | None:
        """A list of strings."""
        value = self.raw(key)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self.fault(key, "must be a list of strings")
            return None
        return tuple(value)

    def table(self, key: str) -> Mapping[str, Any] | None:
        """A table."""
        value = self.raw(key)
        if value is None or isinstance(value, dict):
            return value
        self.fault(key, f"must be a table, not {shown(value)}")
        return None


def shown(value: Any) -> str:
    """Write a value as JSON does, shortened."""
    if isinstance(value, (dict, list)):
        return "a table" if isinstance(value, dict) else "a list"
    if isinstance(value, int) and abs(value) >= 10**15:
        return "a number of more than 15 digits"
    text = json.dumps(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
