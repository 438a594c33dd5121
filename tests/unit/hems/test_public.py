import hems


def test_all_is_sorted_documented_and_there() -> None:
    assert len(set(hems.__all__)) == len(hems.__all__)
    assert all(getattr(hems, name).__doc__ for name in hems.__all__)
