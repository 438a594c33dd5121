"""Transport, clock and processes on stand-in homes: who hears what, and when."""

from __future__ import annotations

import pandas as pd
import pytest
import simpy

from anoca.agents import Clock, prosumer, utility
from anoca.messages import AES, OES, GrantedPower, RequestedPower
from anoca.transport import SimpyTransport

START = pd.Timestamp("2026-06-21 12:30", tz="America/New_York")
STEP = pd.Timedelta(minutes=5)


def oes(name: str, tick: int, kw: float) -> OES:
    power = (RequestedPower(kw, 0.0, -1.0), RequestedPower(kw / 2, 0.0, 0.0))
    return OES(name, tick, tick, START + tick * STEP, START + (tick + 1) * STEP, power)


class FakeHomes:
    def __init__(self) -> None:
        self.heard: list[tuple[float, str, AES]] = []
        self.env: simpy.Environment

    def request(self, home: str, tick: int) -> OES:
        return oes(home, tick, 3.0)

    def accept(self, home: str, aes: AES) -> None:
        self.heard.append((self.env.now, home, aes))


class FakeDesk:
    def __init__(self) -> None:
        self.inboxes: list[tuple[int, list[str]]] = []

    def answer(self, tick: int, inbox: list[OES]) -> list[AES]:
        self.inboxes.append((tick, sorted(o.prosumer for o in inbox)))
        return [
            AES(
                o.prosumer, tick, o.seq, o.mrid, o.valid_from, o.valid_until, (GrantedPower(1.0, 2.0),), "yes"
            )
            for o in reversed(inbox)
        ]


@pytest.mark.parametrize("delay_s", [0.0, 20.0])
def test_everybody_asks_and_hears_an_answer_every_tick(delay_s: float) -> None:
    env = simpy.Environment()
    transport, homes, desk = SimpyTransport(env, delay_s), FakeHomes(), FakeDesk()
    homes.env = env
    clock = Clock(ticks=3, step_s=300.0)
    for name in ("a", "b"):
        env.process(prosumer(env, name, homes, transport, clock))  # type: ignore[arg-type]
    env.process(utility(env, desk, 2, transport, clock))  # type: ignore[arg-type]
    env.run()
    assert desk.inboxes == [(k, ["a", "b"]) for k in range(3)]
    assert [(t, n, a.tick) for t, n, a in sorted(homes.heard, key=lambda h: (h[2].tick, h[1]))] == [
        (300.0 * k + 2 * delay_s, name, k) for k in range(3) for name in ("a", "b")
    ]
    assert all(a.prosumer == n and a.mrid == f"{n}/{a.tick}/{a.tick}" for _, n, a in homes.heard)


def test_totals_over_connections() -> None:
    assert oes("a", 0, 3.0).p_export_kw == 4.5
    granted = (GrantedPower(1.0, 2.0), GrantedPower(0.5, 0.25))
    aes = AES("a", 0, 0, "a/0/0", START, START + STEP, granted, "yes")
    assert (aes.p_export_kw, aes.p_curtail_kw) == (1.5, 2.25)


def test_the_meter_is_read_before_the_next_tick() -> None:
    clock = Clock(ticks=2, step_s=300.0)
    assert clock.start_s(0) < clock.meter_s(0) < clock.start_s(1)
