from hems import Stream, generator


def test_a_draw_hangs_on_all_four_keys_and_nothing_else() -> None:
    def draw(seed: int = 1, stream: int = Stream.SKY, name: str = "A", tick: int = 0) -> float:
        return float(generator(seed, stream, name=name, tick=tick).random())

    base = draw()
    assert base == draw()
    others = [draw(seed=2), draw(stream=Stream.LOAD_DAY), draw(name="B"), draw(tick=1)]
    assert len({base, *others}) == 5


def test_stream_numbers_are_never_reused() -> None:
    # Changing a number changes every published result: this list may only grow.
    assert {s.name: s.value for s in Stream} == {
        "LOAD_HABITS": 1,
        "LOAD_DAY": 2,
        "SKY": 3,
        "FORECAST_LOAD": 4,
        "FORECAST_PV": 5,
        "HOME_TRAITS": 6,
        "HOME_DAY": 7,
        "WEATHER": 8,
        "ROOF": 9,
        "CLOUDS": 10,
        "PRICE": 11,
    }
