"""How messages travel. Agents know only `Transport`; SimPy is one of them."""

from __future__ import annotations

from collections import defaultdict
from typing import Protocol

import simpy

from anoca.messages import AES, OES

Message = OES | AES
UTILITY = "utility"
"""Address of the utility; a prosumer's address is its name."""


class Transport(Protocol):
    """A channel with one mailbox per address. Write this class to put the agents on another medium."""

    def send(self, to: str, message: Message) -> None:
        """Hand a message over; it arrives when the medium delivers it."""

    def receive(self, address: str) -> simpy.Event:
        """An event that fires with the next message for an address."""


class SimpyTransport:
    """Mailboxes in simulated time, delivered after `delay_s` (the first version: at once)."""

    def __init__(self, env: simpy.Environment, delay_s: float = 0.0) -> None:
        self._env = env
        self._delay_s = delay_s
        self._boxes: dict[str, simpy.Store] = defaultdict(lambda: simpy.Store(env))

    def send(self, to: str, message: Message) -> None:
        """Deliver after the delay."""
        if self._delay_s == 0:
            self._boxes[to].put(message)
        else:
            self._env.process(self._later(to, message))

    def _later(self, to: str, message: Message):  # type: ignore[no-untyped-def]
        yield self._env.timeout(self._delay_s)
        self._boxes[to].put(message)

    def receive(self, address: str) -> simpy.Event:
        """The next message in a mailbox."""
        return self._boxes[address].get()
