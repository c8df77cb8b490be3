"""When learning ends: what readings promise, and how a run that is cut short still ends smoothly."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bbcodec.models.training.stopping import FEWEST, LAST, READINGS, SHARE_OF_TIME, Forecast


def ran(bytes_at, end=320.0, least=0.0, took=0.0):
    """A forecast that was given readings of a function of time until it ended."""
    forecast, spent = Forecast(end, least), 0.0
    while forecast.share(spent) < 1:
        if forecast.is_due(spent):
            forecast.note(spent, bytes_at(spent), took)
        spent += 0.5
    return forecast


def test_while_it_pays_learning_goes_on_to_its_end():
    forecast = ran(lambda spent: 1e6 - 1000 * spent)
    assert not forecast.is_over
    assert forecast.end == 320
    assert len(forecast.seconds) == READINGS
    assert forecast.share(80) == 0.25


def test_it_ends_where_nothing_is_saved_any_more():
    """After a time, in which it saved."""
    forecast = ran(lambda spent: 1e6 - 1000 * min(spent, 150))
    assert forecast.is_over
    last = forecast.seconds[-1]
    assert 150 < last <= 230  # until the latest third of the readings is level
    assert forecast.end == pytest.approx(last * (1 + LAST))


def test_a_minute_must_save_its_share():
    falling = lambda spent: 1e6 * math.exp(-spent / 100)  # noqa: E731  45 % a minute, of what is left
    assert not ran(falling, least=0.4).is_over
    assert ran(falling, least=0.7).is_over


def test_what_will_not_pay_in_the_end_ends_early():
    """It costs much at once, and saves it too slowly."""
    forecast = ran(lambda spent: 1e6 + (1e5 - 100 * spent if spent else 0))
    assert forecast.is_over
    assert len(forecast.seconds) == FEWEST
    assert not ran(lambda spent: 1e6 + (1e5 - 400 * spent if spent else 0)).is_over


def test_readings_take_a_small_share_of_the_time():
    forecast = ran(lambda spent: 1e6 - 1000 * spent, took=4.0)
    assert len(forecast.seconds) * 4.0 <= SHARE_OF_TIME * 320 + 4


@given(at=st.floats(20, 300), end=st.floats(100, 400))
def test_the_share_that_is_done_never_jumps(at, end):
    forecast = ran(lambda spent: 1e6 - 1000 * min(spent, at), end=end)
    cut = forecast.seconds[-1]
    shares = [forecast.share(spent) for spent in (cut, cut + 1e-6, (cut + forecast.end) / 2, forecast.end)]
    assert shares == sorted(shares)
    assert shares[1] - shares[0] < 1e-5
    assert shares[-1] == 1
    assert forecast.end <= end
    if forecast.is_over:
        assert shares[0] == pytest.approx(cut / end)
