"""What can be wrong with what a user gives: one exception, many issues, exit code 2."""

from __future__ import annotations

from collections.abc import Sequence


class InputError(ValueError):
    """Bad input: every issue found, each naming the thing and the fix. Nothing was written."""

    def __init__(self, issues: str | Sequence[str]) -> None:
        self.issues = [issues] if isinstance(issues, str) else list(issues)
        super().__init__("; ".join(self.issues))
