"""Every kind of limit: its rows against the Pyomo text, and its value in states that can be done by hand."""

import pytest

from dms import Limits, compile, reference
from feeders import Feeder, library

EVERYTHING = Limits(
    band="both",
    band_across="both",
    v_rise_pu=0.02,
    unbalance=True,
    unbalance_max=0.015,
    negative_sequence_max_pu=0.01,
    line_scale=0.9,
    transformer_scale=1.2,
    i_max_default_a=90.0,
    reverse_power_max_kw=50.0,
)


@pytest.fixture(params=["zoo", "zoo_backwards", (14, 1)], ids=str)
def feeder(request: pytest.FixtureRequest) -> Feeder:
    if isinstance(request.param, str):
        return request.getfixturevalue(request.param)
    n_buses, seed = request.param
    return library.synthetic(n_buses, seed, meshed=0.2, prosumers=0.5, delta_share=0.5)


def test_coefficients_agree_with_the_text(feeder: Feeder) -> None:
    given = {"norm": "l2", "limits": EVERYTHING}
    ours = compile(feeder, **given).program
    text = reference.to_program(reference.build_model(feeder, **given))
    new = {"v_ll_band", "unbalance", "negative_sequence", "reverse_power", "positive_square_rows"}
    assert new <= set(ours.rows)
    assert (ours.n, ours.m) == (text.n, text.m)
    worst, where = reference.largest_difference(ours, text)
    assert worst <= 1e-12, where
