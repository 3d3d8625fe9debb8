"""Reads a Hugging Face ``config.json`` into the fields of ``[model]``, by its fields.

The name of a model decides nothing. Its ``model_type`` fills in what transformers' classes say where no
field does (``hf_classes.toml``); every such thing that matters is told as an assumption. A field that
changes the architecture in a way that is not understood is refused by its name.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoparallel.errors import ProblemError
from autoparallel.problem_file.fields import MAX_LAYERS, MAX_TOKENS, MAX_WIDTH
from autoparallel.problem_file.hf_config_attention import attention_fields
from autoparallel.problem_file.hf_config_experts import ffn_fields
from autoparallel.problem_file.hf_config_file import HfConfig, shown, unsupported_fields
from autoparallel.problem_file.hf_config_layers import layer_fields
from autoparallel.problem_file.hf_config_names import names_experts
from autoparallel.problem_file.hf_config_weights import weight_fields

MAX_VOCABULARY = 100_000_000


@dataclass(frozen=True, kw_only=True)
class ConfigReading:
    """What a ``config.json`` says.

    Attributes
    ----------
    fields : dict
        Fields of a problem file's ``[model]``.
    assumptions : tuple of str
        Sentences on what no field says.
    model_type : str
        The file's word for its architecture, empty without.
    """

    fields: dict[str, Any]
    assumptions: tuple[str, ...]
    model_type: str


def read_config(path: str | Path, told: Collection[str] = ()) -> ConfigReading:
    """Read the architecture from a ``config.json``.

    Parameters
    ----------
    path : str or Path
        A ``config.json``, or a folder that has one. A ``hf_quant_config.json`` beside it is read too.
    told : collection of str
        Keys of ``[model]`` that are given elsewhere, which the file need not have.

    Returns
    -------
    ConfigReading
        Its ``name`` is that of the file's folder, or of the file if it is not ``config.json``.

    Raises
    ------
    ProblemError
        The file cannot be read, is wrong, lacks a field, or has one that is not understood.
    """
    file = Path(path)
    if file.is_dir():
        file = file / "config.json"
    config = HfConfig(file, told)
    fields: dict[str, Any] = {"name": _name(file)}
    layers = _required(config, "num_hidden_layers", MAX_LAYERS)
    fields |= {"num_hidden_layers": layers, "hidden_size": _required(config, "hidden_size", MAX_WIDTH)}
    _refuse_unsupported(config)
    fields |= attention_fields(config)
    fields |= layer_fields(config, layers) | ffn_fields(config, layers) | _vocabulary(config)
    fields["num_nextn_predict_layers"] = _prediction_layers(config)
    _name_unread(config, fields)
    if not config.faults:
        fields |= weight_fields(config, file, fields, layers)
    if config.faults:
        raise ProblemError(config.faults)
    if isinstance(config.top.get("vision_config"), dict):
        config.assume("vision_config is there: the vision part is not counted.")
    given = {key: value for key, value in fields.items() if value is not None}
    return ConfigReading(fields=given, assumptions=tuple(config.assumptions), model_type=config.model_type)


def _name(file: Path) -> str:
    name = file.resolve().parent.name if file.stem == "config" else file.stem.removesuffix("_config")
    return (name or "model")[:200]


def _required(config: HfConfig, key: str, most: int) -> int:
    value = config.number(key, most, least=1, told=True)
    if value is None and config.raw(key) is None:
        config.fault(key, "is missing")
    return value or 1


def _refuse_unsupported(config: HfConfig) -> None:
    encoders = [word for word in config.words("architectures") or () if word.endswith("ForMaskedLM")]
    if encoders:
        config.fault("architectures", f"{shown(encoders[0])}: encoders are not counted")
    for key, why in unsupported_fields().items():
        value = config.raw(key)
        if value or config.fact(key):
            config.fault(key, f"{why}; give the model's own numbers in [model]")
    kinds = config.raw("attn_type_list")
    if isinstance(kinds, list) and any(kind != 1 for kind in kinds):
        config.fault("attn_type_list", "only full attention (1) is counted; give the model's own numbers")


def _name_unread(config: HfConfig, fields: dict[str, Any]) -> None:
    """Tell what looks like part of the architecture and is not understood."""
    for key, value in config.unread():
        if names_experts(key) and not fields.get("num_experts"):
            config.fault(
                key, "names experts in a way that is not known; say it with num_experts", remedy="num_experts"
            )
        else:
            config.assume(f"{key} = {shown(value)} is not understood, and left out of the count.")


def _vocabulary(config: HfConfig) -> dict[str, Any]:
    tied = config.flag("tie_word_embeddings", told=True)
    if tied is None and not config.is_given("tie_word_embeddings"):
        config.assume("tie_word_embeddings is not given: the head has weights of its own.")
    return {
        "vocab_size": _required(config, "vocab_size", MAX_VOCABULARY),
        "tie_word_embeddings": tied,
        "learned_position_embeddings": _learned_positions(config),
    }


def _learned_positions(config: HfConfig) -> int | None:
    """Rows of a learned embedding of positions, in the classes that have one."""
    more = config.facts.get("learned_positions_beside")
    if more is None:
        return None
    positions = config.number("max_position_embeddings", MAX_TOKENS, told=True)
    return None if positions is None else positions + int(more)


def _prediction_layers(config: HfConfig) -> int | None:
    """Layers for multi-token prediction, by any of their names."""
    _, layers = config.first_number(("num_nextn_predict_layers", "mtp_num_hidden_layers"), MAX_LAYERS)
    if layers is None and config.flag("use_mtp"):
        modules = config.number("num_mtp_modules", MAX_LAYERS) or 0
        layers = modules * (config.number("mtp_transformer_layers", MAX_LAYERS) or 1)
    return layers
