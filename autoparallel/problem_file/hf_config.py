"""Reads a Hugging Face ``config.json`` into the fields of ``[model]``, by its fields."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoparallel.domain.model import DENSE, SPARSE
from autoparallel.errors import Fault, ProblemError
from autoparallel.problem_file.document import read_text

# Fields that mean the same here.
_SAME = (
    "num_hidden_layers",
    "hidden_size",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "q_lora_rank",
    "kv_lora_rank",
    "qk_nope_head_dim",
    "qk_rope_head_dim",
    "v_head_dim",
    "attention_bias",
    "vocab_size",
    "tie_word_embeddings",
    "intermediate_size",
    "num_experts_per_tok",
    "moe_intermediate_size",
    "n_shared_experts",
    "first_k_dense_replace",
    "moe_layer_freq",
    "mlp_only_layers",
)
_EXPERT_COUNTS = ("num_experts", "num_local_experts", "n_routed_experts")

# KV heads where the file leaves them out and the class's default is not the number of heads
# (transformers 5.23, configuration classes).
_DEFAULT_KV_HEADS = {"mixtral": 8, "qwen3_moe": 4}


def read_config(path: str | Path) -> dict[str, Any]:
    """Read the architecture from a ``config.json``.

    Parameters
    ----------
    path : str or Path
        A ``config.json``, or a folder that has one.

    Returns
    -------
    dict
        Fields of a problem file's ``[model]``; ``name`` is that of the file's folder.

    Raises
    ------
    ProblemError
        The file cannot be read, or says something that is not understood.
    """
    file = Path(path)
    if file.is_dir():
        file = file / "config.json"
    config = _read_json(file)
    faults: list[Fault] = []
    fields = {key: config[key] for key in _SAME if config.get(key) not in (None, [])}
    fields["name"] = file.resolve().parent.name if file.stem == "config" else file.stem
    fields |= _defaults(config) | _experts(config) | _window(config)
    fields |= _weights(config, faults, str(file))
    if faults:
        raise ProblemError(faults)
    return fields


def _read_json(file: Path) -> dict[str, Any]:
    text = read_text(file)
    try:
        config = json.loads(text)
    except json.JSONDecodeError as error:
        raise ProblemError(
            [Fault(f"is not valid JSON: {error.msg}", file=str(file), line=error.lineno)]
        ) from None
    except RecursionError:
        raise ProblemError([Fault("is nested too deeply", file=str(file))]) from None
    if not isinstance(config, dict):
        raise ProblemError([Fault("is no JSON object, so no config.json of a model", file=str(file))])
    return config


def _defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    kv_heads = _DEFAULT_KV_HEADS.get(str(config.get("model_type")))
    return {"num_key_value_heads": kv_heads} if kv_heads and "num_key_value_heads" not in config else {}


def _experts(config: Mapping[str, Any]) -> dict[str, Any]:
    """Routed experts; where no width of theirs is given it is ``intermediate_size`` (Mixtral)."""
    count = next((config[key] for key in _EXPERT_COUNTS if config.get(key) is not None), None)
    if not count:
        return {}
    fields: dict[str, Any] = {"num_experts": count}
    if config.get("moe_intermediate_size") is None and "intermediate_size" in config:
        fields["moe_intermediate_size"] = config["intermediate_size"]
    step = config.get("decoder_sparse_step")
    if isinstance(step, int) and step > 1:
        # Qwen: layers whose number from 1 the step divides have experts.
        dense = frozenset(config.get("mlp_only_layers") or ())
        fields["mlp_layer_types"] = [
            SPARSE if (layer + 1) % step == 0 and layer not in dense else DENSE
            for layer in range(config.get("num_hidden_layers", 0))
        ]
    return fields


def _window(config: Mapping[str, Any]) -> dict[str, Any]:
    """Sliding window, unless the file switches it off."""
    window = config.get("sliding_window")
    if not window or config.get("use_sliding_window") is False:
        return {}
    types = config.get("layer_types")
    return {"sliding_window": window, **({"layer_types": types} if types else {})}


def _weights(config: Mapping[str, Any], faults: list[Fault], file: str) -> dict[str, Any]:
    """Format of the weights: the quantised one where there is one, else the stored one."""
    stored = config.get("dtype") or config.get("torch_dtype")
    fields = {"weights_dtype": stored} if stored else {}
    quantization = config.get("quantization_config")
    if not quantization:
        return fields
    method = quantization.get("quant_method") if isinstance(quantization, dict) else quantization
    if method != "fp8":
        faults.append(
            Fault(
                f'the quantisation method "{method}" is not known; give the formats in [model] yourself',
                file=file,
                key="quantization_config.quant_method",
            )
        )
        return fields
    quantized = "fp8_block" if quantization.get("weight_block_size") else "fp8"
    embedding = {"embedding_dtype": stored} if stored else {}
    return {"weights_dtype": quantized, **embedding}
