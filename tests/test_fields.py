"""Numbers that are no settings, checked by the rules of those that are."""

import numpy as np
import pytest

from nstjax.errors import NstjaxError
from nstjax.fields import checked_number


@pytest.mark.parametrize(
    ("value", "kind", "told"),
    [
        (2.5, int, "a whole number"),
        (True, int, "a whole number"),
        (None, int, "a whole number"),
        ("30", float, "a number"),
        (-1, int, "at least 0"),
        (np.nan, float, "at least 0"),
        (np.inf, float, "at least 0"),
    ],
)
def test_what_is_refused(value, kind, told):
    with pytest.raises(NstjaxError) as error:
        checked_number("every", value, kind, least=0)
    shown = value if told == "at least 0" else repr(value)
    assert str(error.value) == f"every is {shown}: it must be {told}"


@pytest.mark.parametrize(
    ("value", "kind"), [(0, int), (np.int32(7), int), (3, float), (np.float32(0.5), float)]
)
def test_numbers_become_pythons(value, kind):
    found = checked_number("every", value, kind, least=0)
    assert (found, type(found)) == (value, kind)
