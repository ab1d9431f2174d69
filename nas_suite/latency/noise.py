"""How far the measurements of a machine can be believed."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Lt

from nas_suite.words import plural

MOVED = 0.03
"""A reference block whose latency moves by more than this share shows that what was measured meanwhile drifted."""
SETTLED = 0.02
"""Runs whose interquartile range is a smaller share of their median have settled."""
UNSETTLED = 0.1
WAITED = 0.05
BELIEVED = 0.05
"""Two measurements of one network that differ by more than this share cannot judge a table."""

Share = Annotated[float, Ge(0), Lt(float("inf"))]


@dataclass(frozen=True)
class Noise:
    """What was seen of a machine while a table was measured. Shares are of 1.

    `moved` is the furthest that the reference block was from its first latency; `again` counts points that were measured again
    because it had moved, `kept` those that were kept although it had moved again. `unsettled` is the share of points whose runs
    did not settle, `waited` that of the time for which the processor was another's.
    """

    reference: str
    reference_ms: Share
    moved: Share
    again: Annotated[int, Ge(0)]
    kept: Annotated[int, Ge(0)]
    unsettled: Share
    waited: Share

    @property
    def reasons(self) -> list[str]:
        """In words, why the table is not to be believed; nothing where it is."""
        found = []
        if self.kept:
            found.append(f"the reference block moved by up to {self.moved:.0%}, {plural(self.kept, 'point')} kept all the same")
        if self.unsettled > UNSETTLED:
            found.append(f"{self.unsettled:.0%} of the points did not settle")
        if self.waited > WAITED:
            found.append(f"the processor was another's for {self.waited:.0%} of the time")
        return found

    @property
    def noisy(self) -> bool:
        return bool(self.reasons)
