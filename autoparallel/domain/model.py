"""The architecture of a model, in the field names of Hugging Face's ``config.json``."""

from __future__ import annotations

from dataclasses import dataclass

FULL, SLIDING, CHUNKED = "full_attention", "sliding_attention", "chunked_attention"
DENSE, SPARSE = "dense", "sparse"


@dataclass(frozen=True, kw_only=True)
class Model:
    """A transformer decoder.

    Attributes
    ----------
    intermediate_size : int
        Width of a dense layer's FFN; 0 where every layer has experts.
    num_experts, num_experts_per_tok, moe_intermediate_size : int
        Routed experts of a sparse layer, experts a token uses, width of an expert; 0 in a dense model.
    shared_expert_intermediate_size : int
        Width of all shared experts of a sparse layer together.
    ffn_matrices : int
        3 for a gated FFN (gate, up, down), 2 for a plain one.
    layer_types : tuple of str
        Per layer ``full_attention``, ``sliding_attention`` or ``chunked_attention``.
    mlp_layer_types : tuple of str
        Per layer ``dense`` or ``sparse`` (with routed experts).
    sliding_window : int or None
        Tokens that a layer which is not ``full_attention`` sees. [tokens]
    kv_lora_rank : int
        Rank of the compressed KV cache of multi-head latent attention (MLA); 0 for other attention.
    weights_dtype, expert_weights_dtype, attention_weights_dtype, embedding_dtype : str
        Formats of the weights: the default, routed experts, attention, embedding and head.
    declared_parameters : float or None
        Parameter count that somebody states; compared with the architecture's own. [1]
    parameter_basis : str
        ``derived``: count the architecture; ``declared``: scale the weight bytes and FLOPs of the
        experts (of the FFN in a dense model) until the count is the declared one.
    """

    name: str
    num_hidden_layers: int
    hidden_size: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    layer_types: tuple[str, ...]
    mlp_layer_types: tuple[str, ...]
    vocab_size: int = 0
    tie_word_embeddings: bool = False
    attention_bias: bool = False
    sliding_window: int | None = None
    q_lora_rank: int = 0
    kv_lora_rank: int = 0
    qk_nope_head_dim: int = 0
    qk_rope_head_dim: int = 0
    v_head_dim: int = 0
    intermediate_size: int = 0
    ffn_matrices: int = 3
    num_experts: int = 0
    num_experts_per_tok: int = 0
    moe_intermediate_size: int = 0
    shared_expert_intermediate_size: int = 0
    weights_dtype: str = "bfloat16"
    expert_weights_dtype: str = "bfloat16"
    attention_weights_dtype: str = "bfloat16"
    embedding_dtype: str = "bfloat16"
    kv_cache_dtype: str = "bfloat16"
    activation_dtype: str = "bfloat16"
    declared_parameters: float | None = None
    parameter_basis: str = "derived"

    @property
    def is_mla(self) -> bool:
        """Whether attention is multi-head latent attention (DeepSeek-V2 and its kin)."""
        return self.kv_lora_rank > 0

    @property
    def is_moe(self) -> bool:
        """Whether any layer has routed experts."""
        return SPARSE in self.mlp_layer_types

    @property
    def routed_experts(self) -> int:
        """Experts that ``ep`` divides: 1 in a dense model, whose FFN counts as one expert."""
        return self.num_experts if self.is_moe else 1

    @property
    def routed_experts_per_tok(self) -> int:
        """Experts that a token uses, 1 in a dense model."""
        return self.num_experts_per_tok if self.is_moe else 1

    @property
    def routed_width(self) -> int:
        """Width that ``etp`` divides: of an expert, or of the FFN of a dense model."""
        return self.moe_intermediate_size if self.is_moe else self.intermediate_size

    def window_of(self, layer_type: str) -> float:
        """Tokens of context that a layer of this type attends to, infinite for full attention."""
        bounded = layer_type != FULL and self.sliding_window is not None
        return float(self.sliding_window) if bounded and self.sliding_window else float("inf")
