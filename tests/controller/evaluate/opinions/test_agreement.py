"""Krippendorff's alpha against the package `krippendorff`."""

import math
import warnings

import krippendorff
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.evaluate.opinions.agreement import ordinal_alpha

SCORES = st.one_of(st.none(), st.integers(1, 5), st.sampled_from([2.5, 3.5]))
TABLES = st.integers(2, 4).flatmap(
    lambda raters: st.lists(
        st.lists(SCORES, min_size=raters, max_size=raters), min_size=1, max_size=8
    )
)


@given(TABLES)
def test_alpha_is_that_of_the_package(table):
    units = [[score for score in row if score is not None] for row in table]
    found = ordinal_alpha(units)
    pairable = [unit for unit in units if len(unit) > 1]
    if len({score for unit in pairable for score in unit}) < 2:
        assert found is None
        return
    data = np.array([[np.nan if one is None else one for one in row] for row in table]).T
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = krippendorff.alpha(reliability_data=data, level_of_measurement="ordinal")
    assert math.isclose(found, theirs, abs_tol=1e-9)


@pytest.mark.parametrize(
    ("units", "alpha"),
    [
        ([[1, 1], [5, 5], [3, 3]], 1.0),
        ([], None),
        ([[3], [4]], None),
        ([[3, 3], [3, 3]], None),
    ],
)
def test_alpha_of_small_tables(units, alpha):
    assert ordinal_alpha(units) == alpha
