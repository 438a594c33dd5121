"""What every reader returns: the feeder, and what reading it assumed."""

from __future__ import annotations

from dataclasses import dataclass

from feeders.feeder import Feeder
from feeders.issues import Issue


@dataclass(frozen=True)
class Reading:
    """A feeder as its file describes it, unchecked, and the audit of fields dropped and choices made."""

    feeder: Feeder
    audit: list[Issue]


class Audit(list[Issue]):
    """Findings while a file is read or written, many names to a line."""

    SHOWN = 6

    def note(
        self, table: str, column: str, names: list[str] | str, message: str, *, warn: bool = False
    ) -> None:
        """One line for some elements; nothing when there are none.

        warn  whether somebody should look: the power flow depends on it
        """
        listed = [names] if isinstance(names, str) else names
        if not listed:
            return
        shown = ", ".join(listed[: self.SHOWN])
        more = len(listed) - self.SHOWN
        shown += f" and {more} more" if more > 0 else ""
        self.append(Issue("warning" if warn else "audit", table, column, shown, message))
