"""What a re-check says."""

from __future__ import annotations

from dataclasses import dataclass

# Numbers that were written and read again, or computed by another version of numpy, agree to this.
SAME = 1e-9


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was re-checked: whether it holds, and what was looked at or found wrong.

    ``holds`` is ``None`` where the check could not be made.
    """

    name: str
    holds: bool | None
    says: str
