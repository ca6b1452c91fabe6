"""Order: which of the steps that may begin is next: the first in the document, or the one that a recording holds next.

Knows indexes only; which steps may begin is the engine's business.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable


class Order:
    """Which of the steps that may run is next: the first in the document, and none once the run is to end."""

    def pick(self, ready: list[int], *, ending: bool) -> int | None:
        """Take an index out of the heap `ready`, or return None where nothing is to be begun now."""
        return None if ending or not ready else heapq.heappop(ready)


class AsRecorded(Order):
    """Follows a recording as far as it goes: `upcoming` gives the index of the step it holds next, None at its end.

    Also once the run is to end: what the recording holds after that was under way by then.
    """

    def __init__(self, upcoming: Callable[[], int | None]) -> None:
        self._upcoming = upcoming

    def pick(self, ready: list[int], *, ending: bool) -> int | None:
        """See `Order`."""
        index = self._upcoming()
        if index is None or index not in ready:
            return super().pick(ready, ending=ending)
        return take(ready, index)


def take(ready: list[int], index: int) -> int:
    """Take that index out of the heap `ready` and return it."""
    if index == ready[0]:
        return heapq.heappop(ready)
    ready.remove(index)
    heapq.heapify(ready)
    return index
