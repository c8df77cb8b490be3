import math
from decimal import Decimal, localcontext
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit, ndtr

from bbcodec.coder import tables
from bbcodec.errors import InexactArithmetic


def test_the_tables_are_what_they_always_were():
    assert tables.digest() == "9894cc0f9d3325acc9d245a2b3cadb49"  # changing it makes all archives unreadable


def test_other_tables_are_refused():
    source = Path(tables.__file__).read_text()
    exec(compile(source, "same", "exec"), {"__name__": "same"})
    changed = source.replace("arctan_of_inverse(239)", "arctan_of_inverse(240)")
    assert changed != source
    with pytest.raises(InexactArithmetic, match="digest"):
        exec(compile(changed, "changed", "exec"), {"__name__": "changed"})


def nearest(x: Decimal, bits: int) -> int:
    return int((x * 2**bits).to_integral_value())


def test_exponentials_are_nearest_whole_numbers():
    with localcontext() as context:
        context.prec = 60
        assert tables.EXP_FRACTION.tolist() == [nearest((Decimal(-i) / 256).exp(), 31) for i in range(256)]
        assert tables.EXP_WHOLE.tolist() == [nearest(Decimal(-i).exp(), 31) for i in range(23)]
        assert tables.INVERSE_SCALE.tolist() == [nearest((Decimal(-i) / 256).exp(), 34) for i in range(-1138, 1409)]
        half = Decimal("0.5")
        assert tables.EXP2.tolist() == [nearest(half ** (Decimal(i) / 4096), 31) for i in range(4097)]


def test_logarithms_are_nearest_whole_numbers():
    with localcontext() as context:
        context.prec = 60
        two = Decimal(2).ln()
        assert tables.LOG2.tolist() == [nearest((1 + Decimal(i) / 4096).ln() / two, 32) for i in range(4097)]


def test_bernoulli_masses_are_cut_and_symmetric():
    with localcontext() as context:
        context.prec = 60
        exact = [(2**24 - 2) / (1 + (Decimal(i) / 128).exp()) for i in range(2048)]
    assert tables.BERNOULLI[2047:].tolist() == [int(x) + 1 for x in exact]
    assert (tables.BERNOULLI + tables.BERNOULLI[::-1] == 2**24).all()


@pytest.mark.parametrize(
    ("table", "knots", "cumulative", "bound"),
    [(tables.NORMAL, 64, ndtr, 2**-33), (tables.LOGISTIC, 16, expit, 2**-27.5)],
    ids=["normal", "logistic"],
)
def test_cubics_follow_the_cumulatives(table, knots, cumulative, bound):
    edge = len(table) / knots / 2
    left = np.arange(len(table)) / knots - edge
    assert np.abs(table[:, 0] - cumulative(left) * 2.0**44).max() < 1
    ends = np.append(table[1:, 0], round(cumulative(edge) * 2**44))
    assert np.abs(table.sum(1) - ends).max() <= 2  # continuous, but for the rounding of four coefficients
    t = np.linspace(0, 1, 33)
    values = np.polynomial.polynomial.polyval(t, table.T / 2.0**44)
    assert np.abs(values - cumulative(left[:, None] + t / knots)).max() < bound


def test_quantiles_are_near():
    levels = (np.arange(2048) + 0.5) / 2048
    assert np.abs(ndtr(tables.QUANTILE / 1024) - levels).max() < 0.4 / 64
    assert (-tables.QUANTILE[::-1] == tables.QUANTILE).all()
    assert math.isclose(tables.QUANTILE[-1] / 1024, 3.49, abs_tol=0.01)
