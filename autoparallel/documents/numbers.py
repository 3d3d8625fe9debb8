"""The numbers behind a document, for programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from autoparallel.documents.subject import Subject


def numbers(subject: Subject) -> dict[str, Any]:
    """Plan, neighbours, sensitivities, edges and baseline as JSON-compatible data."""
    return {
        "plan": subject.plan.to_dict(),
        "requirements": [{**asdict(row), "slack": row.slack} for row in subject.requirements],
        "neighbours": [
            {
                "degree": neighbour.degree,
                "direction": neighbour.direction,
                "value": neighbour.value,
                "plan": neighbour.plan.to_dict(),
            }
            for neighbour in subject.neighbours
        ],
        "sensitivities": [
            {
                "change": outcome.name,
                "replanned": outcome.replanned,
                "plan": outcome.plan.to_dict() if outcome.plan else None,
            }
            for outcome in subject.outcomes
        ],
        "edges": [asdict(edge) for edge in subject.edges],
        "baseline": (
            {
                "title": subject.baseline.title,
                "reading": subject.baseline.reading,
                "changes": list(subject.baseline.changes),
                "plan": subject.baseline.plan.to_dict(),
            }
            if subject.baseline
            else None
        ),
    }
