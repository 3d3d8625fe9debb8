"""What a deployment costs, in words."""

from __future__ import annotations

from collections.abc import Iterator

from autoparallel.domain.cost import Cost
from autoparallel.report.wording import number


def cost_rows(cost: Cost | None) -> Iterator[tuple[str, str]]:
    """Price and power, where they are known."""
    if cost is None:
        return
    if cost.usd_per_hour is not None:
        yield "Price", f"${number(cost.usd_per_hour)} per hour"
    for price, words in (
        (cost.usd_per_million_output_tokens, "output tokens"),
        (cost.usd_per_million_tokens, "tokens, prompts counted"),
    ):
        if price is not None:
            yield f"Price of a million {words}", f"${number(price)}"
    if cost.watts is not None:
        yield "Rated power of the GPUs", f"{number(cost.watts / 1e3)} kW"
    if cost.joules_per_request is not None:
        yield "Energy of a request at that power", f"{number(cost.joules_per_request)} J"
