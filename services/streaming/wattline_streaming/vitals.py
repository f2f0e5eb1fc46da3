"""Is the driver alive, and does its work succeed? Its parts tell, the probes ask."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["BACKLOG", "ERASURE", "QUERY", "REGISTRY", "RETENTION", "SETTLING", "Vitals"]

QUERY = "query"
SETTLING = "settling"
RETENTION = "retention"
ERASURE = "erasure"
REGISTRY = "registry"
BACKLOG = "backlog"
_MOST_CHARACTERS = 400  # a line to read; the log has the rest
_NOT_YET = "the stream has not started yet"


@dataclass
class Vitals:
    """A part that goes on beats; one that waits in vain says for what, and beats all the same: it is alive."""

    stall_s: float
    clock_s: Callable[[], float] = time.monotonic
    errors: dict[str, tuple[datetime.datetime, str]] = field(default_factory=dict)  # part -> its last, and since when
    _beats: dict[str, tuple[float, float]] = field(default_factory=dict)  # part -> when, and the longest silence
    _problems: dict[str, str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Begin the count of silence, and be unready."""
        self.beat(QUERY)
        parts = (QUERY, SETTLING, RETENTION, ERASURE, REGISTRY, BACKLOG)
        self._problems = dict.fromkeys(parts) | {QUERY: _NOT_YET}

    def beat(self, part: str, *, pause_s: float = 0.0) -> None:
        """Note that a part goes on; ``pause_s`` is how long it may rest by its own plan."""
        self._beats[part] = (self.clock_s(), self.stall_s + pause_s)

    def note(self, part: str, problem: str | None, *, is_error: bool = True) -> None:
        """Note what keeps a part from its work, or that nothing does; an error is remembered when it is over, too."""
        words = problem and " ".join(problem.split())[:_MOST_CHARACTERS]
        if words and is_error and words != self._problems.get(part):
            self.errors[part] = (datetime.datetime.now(datetime.UTC), words)
        self._problems[part] = words

    def stalled(self) -> dict[str, float]:
        """Return the parts that have been silent for too long, and for how many seconds."""
        now_s = self.clock_s()
        silences = {part: (now_s - at_s, longest_s) for part, (at_s, longest_s) in list(self._beats.items())}
        return {part: silent_s for part, (silent_s, longest_s) in silences.items() if silent_s > longest_s}

    def problems(self) -> dict[str, str | None]:
        """Return each part's problem, none where there is none."""
        return dict(self._problems)
