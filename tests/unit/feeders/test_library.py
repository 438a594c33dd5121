from collections import Counter

import numpy as np
import pytest

from feeders import Connections, Feeder, Lines, Loads, Sources, Switches, Transformers, Windings, library
from feeders.checks import check
from feeders.library import UnknownFeederError
from feeders.table import EARTH

FIXED = ["ieee342", "ieee342-expanded", "ieee342-merged", "ieee342-parallel", "ieee4"]


@pytest.fixture(scope="module")
def ieee342() -> Feeder:
    return library.load("ieee342")


def test_names_are_sorted_and_loadable() -> None:
    assert library.names() == sorted([*FIXED, "synthetic"])


@pytest.mark.parametrize("name", FIXED)
def test_shipped_feeders_have_no_errors_and_an_origin(name: str) -> None:
    feeder = library.load(name)
    assert not [issue for issue in check(feeder) if issue.severity != "warning"]
    assert "IEEE PES" in feeder.origin


def test_unknown_name_suggests_the_near_one() -> None:
    with pytest.raises(UnknownFeederError, match=r"no feeder 'ieee324'; did you mean 'ieee342'\?"):
        library.load("ieee324")
    with pytest.raises(KeyError, match="known: ieee342"):
        library.load("nothing at all")


@pytest.mark.parametrize("name", ["ieee123", "ieee34"])
def test_another_number_is_another_feeder(name: str) -> None:
    with pytest.raises(
        UnknownFeederError, match=rf"no feeder '{name}'; known: .*its file \(Master.dss"
    ) as said:
        library.load(name)
    assert "did you mean" not in str(said.value)


def test_wrong_options_are_refused() -> None:
    with pytest.raises(ValueError, match="form 'split' is not one of merged, parallel, expanded"):
        library.load("ieee342", form="split")
    with pytest.raises(TypeError):
        library.load("ieee4", form="merged")


def test_ieee4_loads() -> None:
    feeder = library.load("ieee4")
    loads = feeder[Loads]
    assert loads.name.tolist() == ["0", "1", "2"]
    assert feeder.node_names[loads.pair[:, 0]].tolist() == ["n4.1", "n4.2", "n4.3"]
    assert loads.p_kw.tolist() == [1800.0] * 3
    assert loads.q_kvar == pytest.approx(871.7798, abs=1e-4)


def test_ieee342_load_totals(ieee342: Feeder) -> None:
    loads = ieee342[Loads]
    assert loads.name.tolist() == [str(n) for n in range(1, 625)]
    assert loads.p_kw.sum() == pytest.approx(42210.42, abs=1e-6)
    assert loads.q_kvar.sum() == pytest.approx(25703.9, abs=0.05)
    slots = loads.p_kw.reshape(104, 6).sum(axis=0)
    assert slots == pytest.approx([4701.17, 4582.36, 4506.33, 9500.70, 9551.12, 9368.74], abs=1e-6)
    spot = loads.p_kw.reshape(104, 6).sum(axis=1)[:8]
    assert spot == pytest.approx([1461.9, 868.1, 2274.9, 2703.6, 2860.4, 2879.7, 426.2, 2704.0], abs=0.05)
    assert (loads.pair[:, 1] == EARTH).sum() == 312


def test_ieee342_export_of_the_four_scenarios(ieee342: Feeder) -> None:
    """Load number n: remainder 2, 1, 0 of n / 3 are categories A, B, C; export in percent of base kW."""
    number = np.arange(1, 625)
    percent = {2: (150, 30, 30, 0), 1: (0, 150, 0, 150), 0: (30, 0, 150, 30)}
    share = (
        np.select([number % 3 == k for k in percent], [np.array(v)[:, None] for v in percent.values()]) / 100
    )
    export_mw = (share * ieee342[Loads].p_kw).sum(axis=1) / 1e3
    assert export_mw == pytest.approx([25.363, 25.543, 25.053, 25.465], abs=5e-4)
    assert ((share > 0).sum(axis=1) == 416).all()


def test_ieee342_segments(ieee342: Feeder) -> None:
    lines = ieee342[Lines]
    kinds = Counter(
        zip(lines.i_max_a[:, 0].tolist(), (lines.length_m / 0.3048).round(6).tolist(), strict=True)
    )
    assert kinds == {
        (594.0, 150.0): 3,
        (615.0, 50.0): 4,
        (615.0, 25.0): 6,
        (615.0, 2500.0): 8,
        (615.0, 100.0): 114,
        (2580.0, 100.0): 93,
        (2580.0, 25.0): 62,
        (2150.0, 10.0): 20,
    }
    assert np.isnan(ieee342[Switches].i_max_a).all()
    assert (ieee342[Switches].z_ohm == 1e-6 + 1e-6j).all()


@pytest.mark.parametrize(("form", "cables"), [("parallel", 1030), ("expanded", 2060)])
def test_every_cable_is_there(form: str, cables: int) -> None:
    lines = library.load("ieee342", form=form)[Lines]
    assert (lines.i_max_a[:, 0] == 430).sum() == cables
    merged = library.load("ieee342")[Lines]
    assert lines.c_nf.sum() == pytest.approx(merged.c_nf.sum(), rel=1e-12)


def test_expanded_has_a_bus_per_cable() -> None:
    expanded, merged = library.load("ieee342-expanded"), library.load("ieee342-merged")
    assert len(expanded.buses) == len(merged.buses) + 1030
    assert expanded.n_nodes == 4260
    assert set(merged.node_names) < set(expanded.node_names)


def test_ieee342_transformers(ieee342: Feeder) -> None:
    assert Counter(ieee342[Transformers].s_kva.tolist()) == {
        50_000.0: 2,
        1000.0: 48,
        1500.0: 2,
        2000.0: 2 + 3 + 3 + 2,
        2500.0: 3 + 3 + 2,
    }
    assert (ieee342[Windings].tap == 1).all()


def test_ieee342_source_strength(ieee342: Feeder) -> None:
    z = ieee342[Sources].z_ohm[0]
    assert z[0, 0] == pytest.approx(0.0707027 + 0.25487522j, abs=1e-7)
    assert z[0, 1] == pytest.approx(0.00655203 - 0.00172747j, abs=1e-7)


@pytest.mark.parametrize("name", ["ieee342-merged", "ieee342-expanded", "ieee4"])
def test_buses_have_places_of_their_own(name: str) -> None:
    buses = library.load(name).buses
    places = set(zip(buses.x.round(6).tolist(), buses.y.round(6).tolist(), strict=True))
    assert len(places) == len(buses)
    assert np.isfinite([buses.x, buses.y]).all()


def test_synthetic_by_name_with_connections() -> None:
    feeder = library.load("synthetic", n_buses=60, seed=1, prosumers=0.5)
    connections, loads = feeder[Connections], feeder[Loads]
    assert len(connections) == round(0.5 * len(loads))
    at = [loads.name.tolist().index(name) for name in connections.load]
    assert (loads.pair[at] == connections.pair).all()


@pytest.mark.parametrize(
    "options",
    [{"n_buses": 3}, {"meshed": -0.1}, {"phases": "two"}, {"delta_share": 1.5}, {"prosumers": -1.0}],
)
def test_synthetic_refuses_bad_arguments(options: dict[str, object]) -> None:
    (name,) = options
    with pytest.raises(ValueError, match=f"synthetic: {name}"):
        library.load("synthetic", **{"n_buses": 20, "seed": 1, **options})
