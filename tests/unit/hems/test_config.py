import pytest

from hems import ConfigError, HemsConfig


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"backend": "mlip"}, "did you mean 'milp'"),
        ({"backend": "gurobi"}, "'auto', 'dp', 'dp_compiled', 'lp', 'milp', 'pyomo'"),
        ({"terminal": "sofft"}, "did you mean 'soft'"),
        ({"tie_break": "least"}, "'least_battery'"),
        ({"horizon": 0}, "horizon=0 must be at least 1"),
        ({"soc_target": 1.5}, "soc_target=1.5"),
        ({"step_minutes": 0.0}, "step_minutes"),
        ({"wear_price_per_kwh": -0.1}, "wear_price_per_kwh"),
        ({"shortfall_price_per_kwh": 0.0}, "shortfall_price_per_kwh"),
        ({"milp_max_nodes": 0}, "milp_max_nodes"),
        ({"pv_spill": "no"}, "pv_spill='no' must be True or False"),
        ({"compute_band": 2}, "compute_band=2 must be True or False"),
        ({"horizon": True}, "horizon=True must be a whole number"),
        ({"horizon": "8"}, "horizon='8' must be a whole number"),
        ({"soc_target": 0.5j}, "soc_target=0.5j must be a number"),
        ({"terminal": None}, "terminal=None must be one of 'soft', 'equality'"),
        ({"target_time": 7}, "target_time=7 must be a clock time"),
    ],
)
def test_bad_options_say_what_is_valid(options: dict, hint: str) -> None:
    with pytest.raises(ConfigError, match=hint):
        HemsConfig(**options)


def test_paper_profile_and_changes_to_it() -> None:
    paper = HemsConfig.paper(horizon=12)
    assert (paper.terminal, paper.pv_spill, paper.wear_price_per_kwh, paper.horizon) == (
        "equality",
        False,
        0,
        12,
    )
    assert HemsConfig.paper(pv_spill=True).pv_spill
    with pytest.raises(ConfigError, match="did you mean 'horizon'"):
        HemsConfig.paper(horizont=12)
