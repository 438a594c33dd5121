"""Loads and generators by hand: every model inside its band, and what happens outside it."""

from typing import Any

import numpy as np
import pytest

from feeders import Generators, Loads
from feeders.elements import LOAD_MODELS, generators
from feeders.elements.loads import outside_band, power_va, voltage_dependent

V_NOM = 230.0
S_NOM = 3000.0 + 1000.0j
ZIP = [0.3, 0.5, 0.2, 0.6, -0.1, 0.5]
BAND = {"v_low_pu": 0.5, "v_min_pu": 0.9, "v_max_pu": 1.1}


def loads(model: str, n: int = 1, **more: Any) -> Loads:
    columns = {"v_nom_kv": 0.23, "cvr_p": 0.8, "cvr_q": 3.0, **more}
    if model == "zip":
        columns.setdefault("zip", ZIP)
    return Loads(
        name=np.array([f"l{k}" for k in range(n)]),
        pair=np.array([[1, 0]] * n),
        p_kw=np.full(n, S_NOM.real / 1e3),
        q_kvar=np.full(n, S_NOM.imag / 1e3),
        model=np.array([model] * n),
        **{key: np.broadcast_to(value, (n, *np.shape(value))) for key, value in columns.items()},
    )


def drawn(model: str, w: float, **more: Any) -> complex:
    return complex(power_va(loads(model, **more), np.array([w * V_NOM * np.exp(0.7j)]))[0])


INSIDE = {
    "constant_power": lambda w: (1.0, 1.0),
    "constant_impedance": lambda w: (w**2, w**2),
    "constant_current": lambda w: (w, w),
    "cvr": lambda w: (w**0.8, w**3),
    "zip": lambda w: (0.3 * w**2 + 0.5 * w + 0.2, 0.6 * w**2 - 0.1 * w + 0.5),
    "fixed_q": lambda w: (1.0, 1.0),
    "fixed_x": lambda w: (1.0, w**2),
}


@pytest.mark.parametrize("band", [{}, BAND], ids=["no band", "band"])
@pytest.mark.parametrize("w", [0.91, 1.0, 1.07])
@pytest.mark.parametrize("model", LOAD_MODELS)
def test_inside_the_band(model: str, w: float, band: dict[str, float]) -> None:
    p, q = INSIDE[model](w)
    expected = complex(S_NOM.real * p, S_NOM.imag * q)
    assert drawn(model, w, **band) == pytest.approx(expected)


@pytest.mark.parametrize("w", [0.01, 0.6, 1.9])
def test_without_a_band_power_stays(w: float) -> None:
    assert drawn("constant_power", w) == pytest.approx(S_NOM)
    assert not voltage_dependent(loads("constant_power")).any()


@pytest.mark.parametrize("model", [m for m in LOAD_MODELS if not m.startswith("fixed")])
def test_an_impedance_at_very_low_voltage(model: str) -> None:
    assert drawn(model, 0.3, **BAND) == pytest.approx(S_NOM * 0.3**2)


@pytest.mark.parametrize("model", ["constant_power", "cvr"])
def test_between_low_and_the_band(model: str) -> None:
    """The current runs straight from that of the impedance at v_low to that of 1 / v_min at v_min."""
    middle = drawn(model, 0.7, **BAND)
    current = (0.5 + 1 / 0.9) / 2
    assert middle == pytest.approx(S_NOM * current * 0.7)


def test_constant_current_below_its_band() -> None:
    assert drawn("constant_current", 0.7, **BAND) == pytest.approx(S_NOM * (0.5 + 1.0) / 2 * 0.7)


@pytest.mark.parametrize(
    ("model", "factor"), [("constant_power", 1.21), ("cvr", 1.21), ("constant_current", 1.1)]
)
def test_above_the_band(model: str, factor: float) -> None:
    assert drawn(model, 1.2, **BAND) == pytest.approx(S_NOM * 1.44 / factor)


def test_parts_of_zip_leave_the_band_each_in_its_own_way() -> None:
    z, i, p = 1.44, 1.44 / 1.1, 1.44 / 1.21
    expected = complex(S_NOM.real * np.dot([z, i, p], ZIP[:3]), S_NOM.imag * np.dot([z, i, p], ZIP[3:]))
    assert drawn("zip", 1.2, **BAND) == pytest.approx(expected)


@pytest.mark.parametrize(("w", "share"), [(0.65, 0.0), (0.7, 0.5), (0.75, 1.0)])
def test_drop_out(w: float, share: float) -> None:
    full = drawn("zip", w)
    assert drawn("zip", w, v_cutoff_pu=0.7) == pytest.approx(full * share, abs=1e-6)


@pytest.mark.parametrize(
    ("model", "edge"),
    [
        *[
            (m, e)
            for m in ("constant_power", "constant_current", "constant_impedance")
            for e in (0.5, 0.9, 1.1)
        ],
        *[("zip", e) for e in (0.9, 1.1)],  # below v_low its shares do not matter
    ],
)
def test_no_step_at_the_ends_of_the_band(model: str, edge: float) -> None:
    """Where the models agree: constant power and current are continuous, and so what is mixed from them."""
    below, above = (drawn(model, edge + d, **BAND) for d in (-1e-9, 1e-9))
    assert below == pytest.approx(above, rel=1e-6)


def test_outside_band() -> None:
    table = loads("constant_power", n=4, **BAND)
    assert outside_band(table, V_NOM * np.array([0.4, 0.8, 1.0, 1.2])).tolist() == [True, True, False, True]
    same = loads("constant_impedance", n=2, **BAND)
    assert not outside_band(same, V_NOM * np.array([0.4, 1.2])).any()


@pytest.mark.parametrize(
    ("model", "w", "factor"),
    [
        ("constant_power", 1.0, 1.0),
        ("constant_power", 0.45, 0.25),
        ("constant_power", 1.2, (1.2 / 1.1) ** 2),
        ("constant_current", 0.95, 0.95),
        ("constant_impedance", 0.3, 0.09),
    ],
)
def test_generators(model: str, w: float, factor: float) -> None:
    one = Generators(
        name=np.array(["g"]),
        unit=np.array(["g"]),
        pair=np.array([[1, 0]]),
        p_kw=np.array([3.0]),
        q_kvar=np.array([1.0]),
        model=np.array([model]),
        v_nom_kv=np.array([0.23]),
        v_min_pu=np.array([0.9]),
        v_max_pu=np.array([1.1]),
    )
    assert generators.power_va(one, np.array([w * V_NOM]))[0] == pytest.approx(S_NOM * factor)
