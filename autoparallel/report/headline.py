"""The answer in one sentence and a few numbers."""

from __future__ import annotations

from autoparallel.domain.cost import Cost
from autoparallel.domain.result import SearchResult
from autoparallel.report.wording import count, given, number, percent, printable, seconds


def headline(result: SearchResult) -> str:
    """The answer in one sentence, plain text.

    Examples: "2 GPUs serve moe10b: first token within 7.41 s, 64.2 tokens/ms per GPU."
    """
    best = result.best
    first = f"first token within {seconds(best.metrics.ttft_s)}"
    if best.serving is not None:
        first = (
            f"first token after {seconds(best.metrics.ttft_s)} on the mean, within "
            f"{seconds(best.serving.ttft_p99_s)} for 99 %"
        )
    verb = "serves" if best.gpus == 1 else "serve"
    return (
        f"{count(best.gpus, 'GPU')} {verb} {printable(result.problem.model.name)}: "
        f"{first}, "
        f"{number(best.metrics.total_tokens_per_ms_per_gpu)} tokens/ms per GPU."
    )


def tiles(result: SearchResult) -> tuple[tuple[str, str, str], ...]:
    """The numbers under the headline: label, value, and a word on it."""
    best, metrics = result.best, result.best.metrics
    cap = result.problem.memory_limit_gb
    used = best.memory.total_bytes / 1e9
    ttft_note, tpot_note = "longest prompts, full batch", "mean lengths"
    if best.serving is not None:
        ttft_note, tpot_note = (
            f"mean; 99 % within {seconds(value)}"
            for value in (best.serving.ttft_p99_s, best.serving.tpot_p99_s)
        )
    return (
        (
            "GPUs",
            f"{best.gpus:,}",
            f"{count(best.layout.replicas, 'replica')} of {count(best.layout.gpus_per_instance, 'GPU')}",
        ),
        ("TTFT", seconds(metrics.ttft_s), ttft_note),
        ("TPOT", seconds(metrics.tpot_s), tpot_note),
        ("Throughput", number(metrics.total_tokens_per_ms_per_gpu), "tokens/ms/GPU, total"),
        ("Memory", f"{number(used)} GB", f"of {given(cap, 'GB')}, {percent(used / cap)}"),
        ("Requests", f"{number(metrics.requests_per_s)}/s", f"whole deployment{_price_note(best.cost)}"),
    )


def _price_note(cost: Cost | None) -> str:
    """What the served tokens cost, where the GPU has a price."""
    price = None if cost is None else cost.usd_per_million_output_tokens
    return "" if price is None else f", ${number(price)} a million output tokens"
