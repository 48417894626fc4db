"""Budgets: what is understood, what is refused and how, and how many codes they buy."""

from __future__ import annotations

import contextlib
import math
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from anytime_core.budget import (
    ANYWHERE,
    DEFAULT_THRESHOLD,
    SHARE_OR_CODES,
    Budget,
    Spending,
    codes_of_share,
)
from anytime_core.errors import UsageError

LONG_S = "\u017f"
"""Equal to an s where case is ignored."""
SHARES = st.floats(0, 1, exclude_min=True)
CODE_LENGTHS = st.integers(1, 5000)
WRONG = st.sampled_from(["120%", "0codes", "x", "1.5codes", "adaptive:x"])
BUDGETS = {
    "share": st.builds(Budget, SHARES),
    "codes": st.builds(Budget, st.integers(1, 10**6), st.just("codes")),
    "seconds": st.builds(Budget, st.floats(1e-6, 1e6), st.just("seconds")),
    "adaptive": st.builds(Budget, st.floats(1e-6, 1e6), st.just("adaptive")),
}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.6, Budget(0.6)),
        (2, Budget(2, "codes")),
        (42, Budget(42, "codes")),
        (np.int64(42), Budget(42, "codes")),
        ("1", Budget(1.0)),
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
        ("200ms", Budget(0.2, "seconds")),
        ("200 MS", Budget(0.2, "seconds")),
        ("0.1ms", Budget(0.0001, "seconds")),
        ("1.5s", Budget(1.5, "seconds")),
        ("0.5 s", Budget(0.5, "seconds")),
        ("1e2s", Budget(100.0, "seconds")),
        ("adaptive", Budget(DEFAULT_THRESHOLD, "adaptive")),
        (" Adaptive ", Budget(DEFAULT_THRESHOLD, "adaptive")),
        ("adaptive:0.3", Budget(0.3, "adaptive")),
        ("adaptive:2", Budget(2.0, "adaptive")),
        (Budget(7, "codes"), Budget(7, "codes")),
        (np.float64(0.6), Budget(0.6)),
    ],
)
def test_budgets_are_understood_as_shares_codes_deadlines_and_thresholds(value, expected):
    assert Budget.parse(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        *(0, 1, -1, math.nan, math.inf, 1.7, 42.0, True, None, [0.5]),
        *("abc", "", "0", "-0.5", "nan", "inf", "1.7", "120%", "0%", "-5%", "0codes", "-3codes", "1.5codes"),
        *("1e999", "1e999codes", "0.5 0.5", "60%%", "codes", "1_000codes", "0x10codes", f"5{LONG_S}", f"3code{LONG_S}"),
        *("0ms", "0s", "-1s", "-200ms", "infs", "nanms", "1e400s", "1e-400s", "ms", "200 m s", "2sec", "1m", "1_0ms"),
        *(
            "adaptive:x",
            "adaptive:0.5x",
            "adaptive:1_0",
            "adaptive:0.3:1",
            "adaptive:50%",
            "adaptive:200ms",
            "adaptive0.5",
            "adapt",
        ),
        *("adaptive:0", "adaptive:-1", "adaptive:nan", "adaptive:inf", "adaptive:1e400", ":0.5"),
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
        "import sys\nfrom anytime_core.budget import Budget, UsageError\n"
        "try:\n    Budget.parse(sys.argv[1])\nexcept UsageError:\n    sys.exit(7)"
    )
    # In a process of its own, so that ten to the billionth power cannot hold up the other tests.
    assert subprocess.run([sys.executable, "-c", program, value], timeout=120, check=False).returncode == 7


@pytest.mark.parametrize(
    ("value", "way_out"),
    [
        *((42.0, "42codes"), ("42", "42%"), ("200", "200codes"), ("1.7", "1.7%"), (1, "1.0"), (1, "1codes")),
        *(
            ("abc", "42codes"),
            ("200 m", "200ms"),
            ("0ms", "200ms"),
            ("abc", "adaptive"),
            ("adaptive:x", "adaptive:0.5"),
        ),
    ],
)
def test_a_refused_budget_says_what_was_probably_meant(value, way_out):
    with pytest.raises(UsageError) as error:
        Budget.parse(value)
    assert way_out in str(error.value)


@pytest.mark.parametrize("units", [ANYWHERE.units, SHARE_OR_CODES], ids=["drawing", "encoding"])
@settings(deadline=None)
@given(
    written=st.integers(-2, 300).map(str) | st.floats(0, 300).map(str) | WRONG,
    code_length=CODE_LENGTHS,
)
@example("200", 64)
@example("42", 8)
@example("100", 64)
def test_what_a_refusal_suggests_can_be_had_there(units, written, code_length):
    spending = Spending(code_length, units)
    with contextlib.suppress(UsageError):
        Budget.parse(written, spending)
        return
    with pytest.raises(UsageError) as error:
        Budget.parse(written, spending)
    message = str(error.value).removeprefix(f"budget '{written}'")
    suggested = re.findall(r"[\d.]+(?:codes|%|ms)|adaptive", message)
    assert suggested
    for way in suggested:
        budget = Budget.parse(way, spending)
        assert budget.unit in units
        assert 1 <= budget.most_codes(code_length) <= code_length


@pytest.mark.parametrize(
    ("written", "spending", "message"),
    [
        ("200", Spending(64), "there are 64 codes, so write at most 64codes, for a deadline write 200ms"),
        ("200", Spending(64, SHARE_OR_CODES), "there are 64 codes, so write at most 64codes"),
        ("42", Spending(64), "for 42 codes write 42codes, for a share of the codes write 42%"),
        (
            "42",
            Spending(8, SHARE_OR_CODES),
            "there are 8 codes, so write at most 8codes, for a share of the codes write 42%",
        ),
        ("1.7", Spending(64), "for a share of the codes write 1.7%"),
    ],
)
def test_a_number_that_is_too_large_leads_to_what_was_meant(written, spending, message):
    with pytest.raises(UsageError) as error:
        Budget.parse(written, spending)
    assert str(error.value) == f"budget '{written}' is more than the whole: {message}"


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
    with pytest.raises(UsageError, match=r"11codes.*\b10 codes"):
        Budget.parse("11codes").most_codes(10)


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


@pytest.mark.parametrize("unit", BUDGETS)
@given(data=st.data())
@settings(deadline=None)
def test_the_text_of_a_budget_parses_back_to_an_equal_budget(unit, data):
    budget = data.draw(BUDGETS[unit])
    assert Budget.parse(str(budget)) == budget


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *(("60%", "0.6"), ("1", "1.0"), (12, "12codes"), ("42 CODES", "42codes")),
        *(("200 ms", "200ms"), ("0.2s", "200ms"), ("1500ms", "1.5s"), ("1s", "1s")),
        *(("adaptive", "adaptive:0.5"), ("ADAPTIVE:0.25", "adaptive:0.25")),
    ],
)
def test_the_text_of_a_budget_is_how_people_write_it(value, text):
    assert str(Budget.parse(value)) == text


@settings(deadline=None)
@given(
    text=st.text("0123456789.+-eE%cods mMa:", max_size=10) | st.from_regex(r"adaptive:[-+_ 0-9.einfa]*", fullmatch=True)
)
@example(f"5{LONG_S}")
@example("adaptive:0")
def test_whatever_is_written_is_a_budget_or_refused_by_name(text):
    with contextlib.suppress(UsageError):
        assert 0 < Budget.parse(text).amount < math.inf
        return
    with pytest.raises(UsageError) as error:
        Budget.parse(text)
    assert str(error.value).startswith(f"budget '{text}' ")


@settings(deadline=None)
@given(milliseconds=st.integers(1, 10**7))
def test_milliseconds_are_exact_thousandths_of_a_second(milliseconds):
    assert Budget.parse(f"{milliseconds}ms").seconds == milliseconds / 1000


@pytest.mark.parametrize(
    ("amount", "unit", "named"),
    [
        *((0, "share", "0"), (1.5, "share", "1.5"), (1.5, "codes", "1.5"), (-2, "codes", "-2")),
        *((0.0, "seconds", "0"), (math.inf, "seconds", "inf"), (math.nan, "adaptive", "nan"), (-1.0, "adaptive", "-1")),
    ],
)
def test_a_budget_cannot_be_made_of_an_amount_that_makes_no_sense(amount, unit, named):
    with pytest.raises(UsageError, match=rf"^budget {named} "):
        Budget(amount, unit)


def test_a_number_that_is_neither_share_nor_whole_is_not_taken_for_codes():
    with pytest.raises(UsageError) as error:
        Budget.parse("1.7")
    assert "1.7codes" not in str(error.value)


@pytest.mark.parametrize(
    ("budget", "seconds", "threshold"),
    [(0.5, None, None), ("3codes", None, None), ("2s", 2, None), ("adaptive:3", None, 3)],
)
def test_only_deadlines_have_seconds_and_only_adaptive_budgets_a_threshold(budget, seconds, threshold):
    parsed = Budget.parse(budget)
    assert (parsed.seconds, parsed.threshold) == (seconds, threshold)


@pytest.mark.parametrize("budget", ["200ms", "1.5s", "adaptive", "adaptive:0.3"])
def test_a_deadline_and_an_adaptive_budget_may_take_every_code_but_are_no_number_of_them(budget):
    parsed = Budget.parse(budget)
    assert parsed.most_codes(12) == 12
    with pytest.raises(UsageError) as error:
        parsed.codes(12)
    assert str(error.value).startswith(f"budget {parsed} ")
    assert "share" in str(error.value)
    assert "\n" not in str(error.value)


@settings(deadline=None)
@given(share=SHARES, code_length=CODE_LENGTHS, data=st.data())
def test_a_share_or_number_of_codes_takes_as_many_as_it_buys(share, code_length, data):
    number = data.draw(st.integers(1, code_length))
    for budget in (Budget(share), Budget(number, "codes")):
        assert budget.most_codes(code_length) == budget.codes(code_length)


def test_a_budget_made_of_a_numpy_number_buys_the_same_codes():
    assert Budget(np.float64(0.6)).codes(10) == 6
