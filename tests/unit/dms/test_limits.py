"""Limits: what a user may say, where they hold on a feeder, and that both ends of a line are held."""

import numpy as np
import pytest

from dms import Limits, LimitValues, Status, compile, solve
from dms.certificate import measure, run
from dms.limits import WIDEN, idle, some
from feeders import Feeder, Lines, Switches, Transformers, Windings


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"v_min_pu": 1.05, "v_max_pu": 1.05}, "voltage band 1.05 to 1.05 pu is empty"),
        ({"v_min_pu": 1.1}, "voltage band 1.1 to 1.05 pu is empty"),
        ({"v_min_pu": -0.1}, "voltage band -0.1 to 1.05 pu: its lower end must not be negative"),
        ({"v_max_pu": np.nan}, "voltage band 0.9 to nan pu is empty"),
        ({"i_scale": 0.0}, "i_scale = 0.0 must be positive"),
        ({"i_scale": -1.0}, "i_scale = -1.0 must be positive"),
        ({"i_scale": np.nan}, "i_scale = nan must be positive"),
        ({"i_scale": np.inf}, "i_scale = inf must be positive and finite"),
        ({"i_max_default_a": 0.0}, "i_max_default_a = 0.0 must be positive"),
        ({"i_max_default_a": np.inf}, "i_max_default_a = inf must be positive and finite"),
        ({"band_up_to_kv": 0.0}, "band_up_to_kv = 0.0 must be positive"),
        ({"band_up_to_kv": np.nan}, "band_up_to_kv = nan must be positive"),
        ({"preexisting": "relaxed"}, "preexisting = 'relaxed' is not 'relax' or 'strict'"),
    ],
)
def test_bad_limits_are_refused_by_name(given: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Limits(**given)


def test_description_says_what_holds() -> None:
    text = Limits(v_min_pu=0.94, v_max_pu=1.06, band_up_to_kv=1.0, i_scale=0.8).describe()
    assert text == "|v| 0.94-1.06 pu up to 1 kV; ratings x 0.8 at both ends"
    assert Limits(current=False).describe() == "|v| 0.9-1.05 pu; no current limit"


def _limited(feeder: Feeder, **given) -> list[str]:
    return feeder.node_names[LimitValues.resolve(feeder, Limits(**given)).node].tolist()


def test_the_band_holds_at_phases_up_to_a_nominal_voltage(zoo: Feeder) -> None:
    """Neutrals (`.4`) and earth have no band; the limit itself is included."""
    low = ["lv.1", "lv.2", "lv.3", "far.1", "far.2", "far.3", "two.1", "two.2", "one.3"]
    middle = [f"{bus}.{k}" for bus in "de" for k in (1, 2, 3)]
    high = [f"{bus}.{k}" for bus in "smn" for k in (1, 2, 3)]
    assert set(_limited(zoo, band_up_to_kv=0.48)) == set(low)
    assert set(_limited(zoo, band_up_to_kv=0.479)) == set()
    assert set(_limited(zoo, band_up_to_kv=4.16)) == set(low + middle)
    assert set(_limited(zoo)) == set(low + middle + high)


def test_what_limits_nothing_is_named(zoo: Feeder) -> None:
    assert idle(zoo, Limits(line_scale=0.5, transformer_scale=0.5, band_up_to_kv=0.48)) == []
    (band,) = idle(zoo, Limits(band_up_to_kv=0.1))
    assert band.startswith("no bus is at or below 0.1 kV (the lowest: 0.48 kV)")
    (own,) = idle(zoo, Limits(band_up_to_kv=0.48, buses={"d": (0.95, 1.02), "far": (0.95, 1.02), "e": None}))
    assert own.startswith("the own band of bus 'd' acts on nothing: it stands at 4.16 kV")
    lines, windings = zoo[Lines], zoo[Windings]
    bare = zoo.with_tables(
        lines.replace(i_max_a=np.full_like(lines.i_max_a, np.nan)),
        windings.replace(i_max_a=windings.i_max_a * np.nan, s_max_kva=windings.s_max_kva * np.nan),
    )
    names = [str(n) for n in bare[Transformers].name]
    (scale,) = idle(bare, Limits(transformer_scale=0.5))
    assert scale.startswith(
        f"limits.transformer_scale = 0.5 acts on nothing: no transformer has a rating (transformer {names[0]}"
    )
    assert (", ... (" in scale) == (len(names) > 5)
    (exempt,) = idle(bare, Limits(elements={names[0]: None}))
    assert exempt.startswith(
        f"limits.elements {names[0]!r} acts on nothing: transformer {names[0]} has no rating"
    )
    rated = lines.name[~np.isnan(lines.i_max_a).all(axis=1)][0]
    assert idle(zoo, Limits(elements={str(rated): None})) == []
    assert some([str(k) for k in range(36)]) == "0, 1, 2, 3, 4, ... (31 more)"


def test_ratings_at_every_terminal(zoo: Feeder) -> None:
    values = LimitValues.resolve(zoo, Limits())
    found = dict(zip(values.label, values.rating, strict=True))
    assert len(found) == len(values.label)
    ends = ("from", "to")
    wanted = {
        f"line {n} phase {k} {e}": a
        for n, a in (("high", 300.0), ("mid", 600.0))
        for k in (1, 2, 3)
        for e in ends
    }
    wanted |= {f"line main phase {k} {e}": 500.0 for k in (1, 2, 3, 4) for e in ends}
    wanted |= {f"line two phase {k} {e}": 200.0 for k in (1, 2) for e in ends}
    wanted |= {f"line one phase {k} {e}": 200.0 for k in (3, 4) for e in ends}
    wanted |= {f"switch breaker phase {k} {e}": 400.0 for k in (1, 2, 3) for e in ends}  # the tie is open
    wanted |= {
        f"transformer dy winding {w} leg {k}": a for w, a in ((0, 80.0), (1, 900.0)) for k in (1, 2, 3)
    }
    wanted |= {f"transformer dy winding 1 leg {k} power": 600e3 / 3 for k in (1, 2, 3)}
    assert found == wanted


def test_scale_and_default_rating(zoo: Feeder) -> None:
    """The default is for unrated line conductors only, and is scaled like the rest."""
    plain = LimitValues.resolve(zoo, Limits())
    scaled = LimitValues.resolve(zoo, Limits(i_scale=0.8, i_max_default_a=50.0))
    rod = {"line rod phase 4 from": 40.0, "line rod phase 4 to": 40.0}
    wanted = {label: 0.8 * a for label, a in zip(plain.label, plain.rating, strict=True)} | rod
    assert dict(zip(scaled.label, scaled.rating, strict=True)) == pytest.approx(wanted)


def test_current_limits_can_be_left_out(zoo: Feeder) -> None:
    values = LimitValues.resolve(zoo, Limits(current=False, i_max_default_a=5.0))
    assert len(values.label) == len(values.rating) == 0
    assert len(values.node) > 0
    problem = compile(zoo, limits=Limits(current=False))
    assert len(problem.program.rows["i_limit"].label) == 0
    assert solve(problem, problem.request(np.full(7, 10.0))).status is Status.GO_AHEAD


def test_without_any_limit_nothing_is_curtailed(zoo: Feeder) -> None:
    problem = compile(zoo, limits=Limits(current=False, band_up_to_kv=0.1))
    solution = solve(problem, problem.request(np.full(7, 60.0)))
    assert solution.status is Status.GO_AHEAD
    assert (solution.certificate.worst_v_pu, solution.certificate.where_v) == (-np.inf, "")


def test_relaxed_widens_only_what_is_broken(street) -> None:
    values = LimitValues.resolve(street(z_ohm=(0.1, 0.1), i_max_a=(10.0, 10.0)), Limits(v_max_pu=1.02))
    v_pu = np.array([1.0, 1.03, 0.89])
    i_a = np.array([9.0, 11.0, 10.0, 20.0])
    wide = values.relaxed((v_pu, i_a))
    assert wide.v_max_pu == pytest.approx([1.02, 1.03 * WIDEN, 1.02], abs=1e-15)
    assert wide.v_min_pu == pytest.approx([0.9, 0.9, 0.89 / WIDEN], abs=1e-15)
    assert wide.rating == pytest.approx([10.0, 11.0 * WIDEN, 10.0, 20.0 * WIDEN])
    assert (values.v_max_pu == 1.02).all()


# Every kind of limit binds in the optimum, on the dot ----------------------------------------------


def _solve(feeder: Feeder, limits: Limits, export_kw: float):
    problem = compile(feeder, limits=limits)
    n = len(problem.units.of_connection)
    request = problem.request(np.full(n, export_kw))
    solution = solve(problem, request).raise_for_status()
    assert solution.status is Status.CURTAILED
    return measure(problem.network, run(problem.network, request, solution.p_curtail_kw), problem.values)


def _only(feeder: Feeder, kind: str) -> Feeder:
    """The same feeder with ratings on one kind of element."""
    lines, switches, windings = feeder[Lines], feeder[Switches], feeder[Windings]
    unrated = np.full(len(windings), np.nan)
    none = {
        "line": lines.replace(i_max_a=np.full((len(lines), 4), np.nan)),
        "switch": switches.replace(i_max_a=np.full((len(switches), 4), np.nan)),
        "transformer": windings.replace(i_max_a=unrated, s_max_kva=unrated),
    }
    return feeder.with_tables(*(table for name, table in none.items() if name != kind))


@pytest.mark.parametrize(("kind", "i_scale"), [("line", 0.5), ("switch", 0.05), ("transformer", 0.3)])
def test_a_rating_of_each_kind_binds_exactly(zoo: Feeder, kind: str, i_scale: float) -> None:
    state = _solve(_only(zoo, kind), Limits(v_max_pu=1.3, v_min_pu=0.5, i_scale=i_scale), 90.0)
    assert abs(state.worst_over_i) < 1e-7


@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
def test_a_winding_rated_in_kva_binds_exactly(zoo: Feeder, norm: str) -> None:
    """Of the secondary coils only: the apparent power of one of them stands at a third of the rating."""
    windings = zoo[Windings]
    kva = np.array([np.nan, np.nan, np.nan, 180.0])
    only = _only(zoo, "transformer").with_tables(windings.replace(i_max_a=kva * np.nan, s_max_kva=kva))
    problem = compile(only, limits=Limits(v_max_pu=1.3, v_min_pu=0.5), norm=norm)
    assert problem.values.unit.tolist() == ["VA"] * 3
    solution = solve(problem, problem.request(np.full(7, 60.0))).raise_for_status()
    assert solution.status is Status.CURTAILED
    assert solution.state.through.max() == pytest.approx(60e3, rel=1e-7)
    coil = problem.feeder[Windings].pair[3]
    v = solution.state.flow.v
    u = v[coil[:, 0]] - v[coil[:, 1]]
    for p, current in problem.network.terminal_currents(solution.state.flow):
        if p.kind == "transformer" and p.element[0] == "dy":
            into = current[0, 6:12:2]
            np.testing.assert_allclose(np.abs(u * np.conj(into)), solution.state.through, rtol=1e-9)


@pytest.mark.parametrize(
    "limits", [Limits(v_max_pu=1.03, current=False), Limits(v_min_pu=0.95, current=False)]
)
def test_either_side_of_the_band_binds_exactly(zoo: Feeder, limits: Limits) -> None:
    state = _solve(zoo, limits, 60.0)
    assert abs(state.worst_over_v) < 1e-8


@pytest.mark.parametrize("against", [False, True])
def test_both_ends_of_a_charging_line_are_limited(street, against: bool) -> None:
    """Charging current comes from the source: that end carries more, whichever end it is written as."""
    feeder = street(z_ohm=(0.05 + 0.02j,), i_max_a=(60.0,), c_nf=4e5, homes=((1,),), against=against)
    problem = compile(feeder, limits=Limits(v_max_pu=1.2))
    request = problem.request(np.array([30.0]))
    solution = solve(problem, request).raise_for_status()
    state = measure(problem.network, run(problem.network, request, solution.p_curtail_kw), problem.values)
    over = dict(zip(problem.values.label, state.over_i, strict=True))
    source_end, home_end = ("to", "from") if against else ("from", "to")
    assert abs(over[f"line c1 phase 1 {source_end}"]) < 1e-7
    assert over[f"line c1 phase 1 {home_end}"] < -0.1
    # By bisection on power flows: the largest export at which both ends are within their rating.
    low, high = 0.0, 30.0
    for _ in range(40):
        middle = (low + high) / 2
        flow = run(problem.network, request.exporting(np.array([middle])))
        low, high = (
            (middle, high) if measure(problem.network, flow, problem.values).within(0, 0) else (low, middle)
        )
    assert solution.p_adjusted_kw[0] == pytest.approx(low, rel=1e-6)
