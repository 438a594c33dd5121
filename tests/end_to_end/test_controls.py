"""Taps as controls in the closed loop: moved step by step, and the plant moves with them."""

from pathlib import Path

import numpy as np
import pandas as pd

CONTROLS = """
[controls]
taps = ["substation"]
steps_per_tick = 1
"""


def _run(anoca_command, path: Path, out: Path) -> tuple[pd.DataFrame, Path]:
    done = anoca_command("run", path, "--out", out)
    assert done.code == 0, done.err
    folder = next(out.glob("small/*"))
    return pd.read_parquet(folder / "ticks.parquet"), folder


def test_taps_move_a_step_a_tick_and_the_plant_follows(anoca_command, small: Path, tmp_path: Path) -> None:
    text = small.read_text(encoding="utf-8").replace("i_scale = 0.25", "v_max_pu = 1.045")
    text = text.replace("A = 150, C = 100", "A = 350, C = 300").replace("ticks = 2", "ticks = 4")
    text = text.replace("horizon = 24", "horizon = 24\nsigma_load_nowcast = 0.0\nsigma_pv_nowcast = 0.0")
    small.write_text(text, encoding="utf-8")
    fixed, _ = _run(anoca_command, small, tmp_path / "fixed")
    small.write_text(text + CONTROLS, encoding="utf-8")
    free, folder = _run(anoca_command, small, tmp_path / "free")
    assert (fixed["curtailed_kw"] > 1).all()
    assert fixed["steps_moved"].sum() == 0
    moved = pd.read_parquet(folder / "controls.parquet")
    assert moved["control"].unique().tolist() == ["substation"]
    np.testing.assert_allclose(moved["steps_moved"], free["steps_moved"])
    assert (moved["steps_moved"] <= 1 + 1e-9).all()
    assert moved["before"].tolist() == [1.0, *moved["position"][:-1]]
    assert free["curtailed_kw"].sum() < 0.9 * fixed["curtailed_kw"].sum()
    assert not free["plant_violated"].any()
    # The plant's voltages are those of the moved taps, not of the old ones.
    limits = pd.read_parquet(folder / "limits.parquet")
    assert set(limits["kind"]) <= {"v_min", "v_max", "i_max"}
    assert free["plant_v_max_pu"].max() <= 1.045 + 1e-4


def test_a_control_that_is_not_there_is_named(anoca_command, small: Path, tmp_path: Path) -> None:
    small.write_text(
        small.read_text(encoding="utf-8") + CONTROLS.replace("substation", "sub"), encoding="utf-8"
    )
    done = anoca_command("run", small, "--out", tmp_path / "r")
    assert done.code == 2
    assert "no transformer 'sub'; known: substation" in done.err
    assert not (tmp_path / "r").exists()
