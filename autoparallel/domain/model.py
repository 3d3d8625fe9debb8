"""The architecture of a model, in the field names of Hugging Face's ``config.json``."""

from __future__ import annotations

from dataclasses import dataclass

FULL, SLIDING, CHUNKED = "full_attention", "sliding_attention", "chunked_attention"
LINEAR = "linear_attention"
DENSE, SPARSE = "dense", "sparse"
NO_NORM, HEAD_NORM, FULL_NORM = "none", "head", "full"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Stored weights of a model, which the problem may want in other formats.

    Attributes
    ----------
    repository : str
        Their name on Hugging Face; empty where it is not known.
    weights_dtype, expert_weights_dtype, attention_weights_dtype : str
        Formats that they are stored in.
    """

    repository: str
    weights_dtype: str
    expert_weights_dtype: str
    attention_weights_dtype: str


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
        Per layer ``full_attention``, ``sliding_attention``, ``chunked_attention`` or ``linear_attention``
        (a gated delta net: a state of constant size instead of keys and values).
    mlp_layer_types : tuple of str
        Per layer ``dense`` or ``sparse`` (with routed experts).
    sliding_window : int or None
        Tokens that a sliding or chunked layer sees. [tokens]
    sliding_num_attention_heads, sliding_num_key_value_heads, sliding_head_dim, sliding_v_head_dim : int
        Shape of the layers that see only a window, where it is not that of the others; 0: the same.
    v_head_dim : int
        Width of a value head; 0 outside latent attention: as ``head_dim``.
    attention_k_eq_v : bool
        Whether layers of full attention use their keys as values and have no projection of their own.
    attention_output_gate : bool
        Whether a gate as wide as the queries is projected too.
    attention_sinks : bool
        Whether every head has a learned sink.
    attention_bias, attention_output_bias, mlp_bias, router_bias, norm_bias, head_bias : bool
        Whether query, key and value projections, the output projection, FFN and experts, router, norms
        and head have a bias; ``mlp_bias`` holds for experts too.
    qk_norm : str
        ``none``, ``head`` (a weight per channel of a head) or ``full`` (per channel of all heads).
    learned_position_embeddings : int
        Rows of a learned embedding of positions; 0 where positions are rotated.
    norms_per_layer : int
        Norms of a layer as wide as ``hidden_size``.
    index_n_heads, index_head_dim, index_topk, indexer_layers : int
        The indexer of sparse attention (DeepSeek-V3.2): its heads, their width, the tokens it selects,
        and how many layers have one; 0 without.
    linear_num_key_heads, ... : int
        Shape of linear attention.
    num_nextn_predict_layers : int
        Layers for multi-token prediction; counted apart, nothing else uses them.
    kv_lora_rank : int
        Rank of the compressed KV cache of multi-head latent attention (MLA); 0 for other attention.
    weights_dtype, expert_weights_dtype, attention_weights_dtype, embedding_dtype : str
        Formats of the weights: the default, routed experts, attention, embedding and head.
    declared_parameters : float or None
        Parameter count that somebody states; compared with the architecture's own. [1]
    parameter_basis : str
        ``derived``: count the architecture; ``declared``: scale the weight bytes and FLOPs of the
        experts (of the FFN in a dense model) until the count is the declared one.
    checkpoint : Checkpoint or None
        Where the architecture comes from; ``None`` where the problem states it by itself.
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
    learned_position_embeddings: int = 0
    attention_bias: bool = False
    sliding_window: int | None = None
    q_lora_rank: int = 0
    kv_lora_rank: int = 0
    qk_nope_head_dim: int = 0
    qk_rope_head_dim: int = 0
    v_head_dim: int = 0
    attention_output_bias: bool = False
    attention_output_gate: bool = False
    attention_sinks: bool = False
    attention_k_eq_v: bool = False
    sliding_num_attention_heads: int = 0
    sliding_num_key_value_heads: int = 0
    sliding_head_dim: int = 0
    sliding_v_head_dim: int = 0
    index_n_heads: int = 0
    index_head_dim: int = 0
    index_topk: int = 0
    indexer_layers: int = 0
    linear_num_key_heads: int = 0
    linear_num_value_heads: int = 0
    linear_key_head_dim: int = 0
    linear_value_head_dim: int = 0
    linear_conv_kernel_dim: int = 0
    qk_norm: str = NO_NORM
    norms_per_layer: int = 2
    norm_bias: bool = False
    mlp_bias: bool = False
    router_bias: bool = False
    shared_expert_gate: bool = False
    head_bias: bool = False
    num_nextn_predict_layers: int = 0
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
    checkpoint: Checkpoint | None = None

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

    @property
    def counted_only(self) -> str:
        """The field that makes a model countable but not yet timed; empty where it can be."""
        if LINEAR in self.layer_types:
            return "layer_types"
        if self.attention_k_eq_v:
            return "attention_k_eq_v"
        if self.attention_output_gate:
            return "attention_output_gate"
        if self.v_head_dim and not self.is_mla:
            return "v_head_dim"
        shapes = ("num_attention_heads", "num_key_value_heads", "head_dim", "v_head_dim")
        return next((f"sliding_{key}" for key in shapes if getattr(self, f"sliding_{key}")), "")

    def window_of(self, layer_type: str) -> float:
        """Tokens of context whose keys and values a layer uses: all in full, none in linear attention."""
        if layer_type == LINEAR:
            return 0.0
        bounded = layer_type != FULL and self.sliding_window is not None
        return float(self.sliding_window) if bounded and self.sliding_window else float("inf")

    def attended_of(self, layer_type: str, tokens: float) -> float:
        """Keys that a query attends to at most in a context of ``tokens``, infinite for all of them.

        An indexer selects ``index_topk`` of them. Chunked attention starts anew every ``sliding_window``
        tokens: past the first chunk a query sees half a chunk on average.
        """
        window = self.window_of(layer_type)
        if self.indexer_layers and self.index_topk:
            window = min(window, self.index_topk)
        if layer_type != CHUNKED:
            return window
        return window / 2 if tokens > window else float("inf")
