"""Budgets: what is understood, what is refused and how, and how many codes they buy."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anytime_core.errors import UsageError
from anytime_core.sampling.budget import Budget, codes_of_share

SHARES = st.floats(0, 1, exclude_min=True)
CODE_LENGTHS = st.integers(1, 5000)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.6, Budget(0.6)),
        (1, Budget(1.0)),
        (1.0, Budget(1.0)),
        ("1.0", Budget(1.0)),
        (" 0.5 ", Budget(0.5)),
        (".5", Budget(0.5)),
        ("5e-1", Budget(0.5)),
        ("60%", Budget(0.6)),
        ("60 %", Budget(0.6)),
        ("100%", Budget(1.0)),
        ("42codes", Budget(42, "codes")),
        ("42 codes", Budget(42, "codes")),
        ("42CODES", Budget(42, "codes")),
        ("1code", Budget(1, "codes")),
        (Budget(7, "codes"), Budget(7, "codes")),
        (np.float64(0.6), Budget(0.6)),
    ],
)
def test_budgets_are_understood_as_shares_percentages_and_codes(value, expected):
    assert Budget.parse(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        *(0, -1, math.nan, math.inf, 1.7, 42, True, None, [0.5]),
        *("abc", "", "0", "-0.5", "nan", "inf", "1.7", "120%", "0%", "-5%", "0codes", "-3codes", "1.5codes"),
        *("200ms", "2s", "1e999", "1e999codes", "0.5 0.5", "60%%", "codes", "1_000codes", "0x10codes"),
    ],
    ids=repr,
)
def test_a_budget_that_makes_no_sense_is_refused_with_a_message_that_begins_with_it(value):
    with pytest.raises(UsageError) as error:
        Budget.parse(value)
    assert str(error.value).startswith((f"budget {value} ", f"budget {value!r} "))


@pytest.mark.parametrize("value", [10**400, -(10**400)], ids=["positive", "negative"])
def test_a_whole_number_beyond_floating_point_is_refused(value):
    with pytest.raises(UsageError):
        Budget.parse(value)


@pytest.mark.parametrize("value", ["1e999999999", "1e-999999999%"])
def test_an_enormous_exponent_is_refused_instead_of_being_computed(value):
    program = (
        "import sys\nfrom anytime_core.sampling.budget import Budget, UsageError\n"
        "try:\n    Budget.parse(sys.argv[1])\nexcept UsageError:\n    sys.exit(7)"
    )
    # In a process of its own, so that ten to the billionth power cannot hold up the other tests.
    assert subprocess.run([sys.executable, "-c", program, value], timeout=20, check=False).returncode == 7


@pytest.mark.parametrize(
    ("value", "way_out"), [(42, "42codes"), (42, "42%"), ("1.7", "1.7%"), ("200ms", "deadline"), ("abc", "42codes")]
)
def test_a_refused_budget_says_what_was_probably_meant(value, way_out):
    with pytest.raises(UsageError) as error:
        Budget.parse(value)
    assert way_out in str(error.value)


@pytest.mark.parametrize(
    ("budget", "code_length", "expected"),
    [
        (0.6, 10, 6),
        (0.7, 10, 7),
        (0.07, 100, 7),  # in floating point 0.07 * 100 is a little more than 7
        (0.55, 100, 55),
        (0.61, 10, 7),
        (1e-9, 10, 1),
        (1.0, 10, 10),
        ("60%", 10, 6),
        ("7%", 100, 7),
        ("3codes", 10, 3),
        ("10codes", 10, 10),
    ],
)
def test_a_share_buys_codes_rounded_up_and_at_least_one(budget, code_length, expected):
    assert Budget.parse(budget).codes(code_length) == expected


def test_more_codes_than_there_are_is_an_error_that_names_both_numbers():
    with pytest.raises(UsageError, match=r"11codes.*\b10 codes"):
        Budget.parse("11codes").codes(10)


@settings(deadline=None)
@given(thousandths=st.integers(1, 1000), code_length=CODE_LENGTHS)
def test_a_decimal_share_is_exact_whatever_binary_fractions_make_of_it(thousandths, code_length):
    assert codes_of_share(thousandths / 1000, code_length) == -(-thousandths * code_length // 1000)


@settings(deadline=None)
@given(thousandths=st.integers(1, 1000))
def test_a_percentage_buys_as_many_codes_as_the_share_it_means(thousandths):
    percentage = f"{thousandths // 10}.{thousandths % 10}%"
    assert Budget.parse(percentage).codes(1000) == thousandths


@settings(deadline=None)
@given(share=SHARES, code_length=CODE_LENGTHS)
def test_a_share_buys_between_one_and_all_codes(share, code_length):
    assert 1 <= codes_of_share(share, code_length) <= code_length
    assert codes_of_share(1.0, code_length) == code_length


@settings(deadline=None)
@given(shares=st.tuples(SHARES, SHARES), code_length=CODE_LENGTHS)
def test_a_larger_share_never_buys_fewer_codes(shares, code_length):
    smaller, larger = sorted(shares)
    assert codes_of_share(smaller, code_length) <= codes_of_share(larger, code_length)


@settings(deadline=None)
@given(st.one_of(st.builds(Budget, SHARES), st.builds(Budget, st.integers(1, 10**6), st.just("codes"))))
def test_the_text_of_a_budget_parses_back_to_an_equal_budget(budget):
    assert Budget.parse(str(budget)) == budget


def test_a_budget_made_of_a_numpy_number_buys_the_same_codes():
    assert Budget(np.float64(0.6)).codes(10) == 6
