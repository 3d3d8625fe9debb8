"""Who works on a trial, and whether they still do."""

from __future__ import annotations

import os
import socket
import time
from typing import NamedTuple

# A worker shows that it lives every so often, and is given up when it has not for so long. [s]
BEAT_S = 10.0
GRACE_S = 60.0
# It writes its name a moment after it has taken a trial. [s]
UNNAMED_S = 5.0


class Owner(NamedTuple):
    """A process that works on a trial; ``beat`` counts while it does.

    ``place`` is the machine, and on Linux the space in which ``process`` is unique.
    """

    place: str
    process: int
    beat: int = 0

    @classmethod
    def this_process(cls) -> Owner:
        """The owner that this process is."""
        try:
            space = os.readlink("/proc/self/ns/pid")
        except OSError:
            space = ""
        return cls(f"{socket.gethostname()} {space}".strip(), os.getpid())

    def has_ended(self, here: str) -> bool:
        """Whether the process is known to be gone; another machine's is never.

        This process itself holds nothing while it asks.
        """
        if self.place != here:
            return False
        if self.process == os.getpid():
            return True
        try:
            os.kill(self.process, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False


class Watch:
    """Tells which running trials nobody works on any more.

    A trial is given up when its owner's process is gone, or when its owner, seen from here, has not
    shown itself for :data:`GRACE_S`: clocks of other machines do not matter. Giving one up too early
    costs its work twice, and no more.
    """

    def __init__(self) -> None:
        self._here = Owner.this_process().place
        self._seen: dict[int, tuple[Owner | None, float]] = {}

    def is_given_up(self, trial_id: int, owner: Owner | None) -> bool:
        """Look at a running trial; ``None`` where no owner is known yet."""
        now = time.monotonic()
        before = self._seen.get(trial_id)
        if before is None or before[0] != owner:
            self._seen[trial_id] = (owner, now)
            return owner is not None and owner.has_ended(self._here)
        if owner is None:
            return now - before[1] > UNNAMED_S
        return now - before[1] > GRACE_S or owner.has_ended(self._here)
