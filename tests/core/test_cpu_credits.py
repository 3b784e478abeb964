"""The accounting of CPU credits, by the figures and examples of AWS's documents (EC2 user guide: "Standard mode examples", "Unlimited mode examples",
"Monitor your CPU credits")."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gureum.core.cpu_credits import (
    FADE_S,
    STEP_S,
    Account,
    CpuCredits,
    cpus_allowed,
    look_again_s,
    opened,
    settled,
    switched,
)

HOUR_S = 3600.0
T3_NANO = CpuCredits(6, unlimited=False)
T3_NANO_UNLIMITED = CpuCredits(6, unlimited=True)
T2_NANO = CpuCredits(3, unlimited=False, launch=30)


class Machine:
    """One with `cpus` processors that is used as is said, looked at every five minutes."""

    def __init__(self, wish: CpuCredits, cpus: int) -> None:
        self.wish, self.cpus = wish, cpus
        self.account = opened(wish, 0.0)
        self.now, self.cpu_ns, self.spent = 0.0, 0.0, 0.0

    def run(self, hours: float, percent: float) -> Account:
        for _ in range(round(hours * 12)):
            self.now += 300
            used_s = 300 * self.cpus * percent / 100
            self.cpu_ns += used_s * 1e9
            self.spent += used_s / 60
            self.account = settled(self.account, self.wish, self.now, 1, round(self.cpu_ns))
        return self.account


def test_example_of_a_standard_t3_nano() -> None:
    """P1 to P4 and P7 of "Explain credit use with T3 Standard"."""
    machine = Machine(T3_NANO, 2)
    assert machine.run(24, 0).balance == pytest.approx(144)
    assert machine.run(12, 2.5).balance == pytest.approx(144)
    assert machine.run(24, 7).balance == pytest.approx(144 - 57.6)
    # 36 are spent and 72 earned; the page says 122.
    assert machine.run(12, 2.5).balance == pytest.approx(122.4)
    assert machine.run(2, 100).balance == 0
    assert machine.run(14, 5).balance == pytest.approx(0, abs=1e-6)
    assert machine.run(24, 0).balance == pytest.approx(144)


def test_example_of_a_standard_t2_nano() -> None:
    """Periods 1 to 7 of "Explain credit use with T2 Standard": launch credits are spent first and do not count toward the limit."""
    machine = Machine(T2_NANO, 1)
    assert machine.run(14, 0).balance == pytest.approx(72)
    assert machine.run(10, 0).balance == pytest.approx(102)
    assert machine.run(12, 0).balance == pytest.approx(102)
    third = machine.run(25, 2)
    assert (third.launch, third.earned) == (pytest.approx(0, abs=1e-6), pytest.approx(72))
    assert machine.run(11, 2).balance == pytest.approx(72)
    assert machine.run(3, 20).balance == pytest.approx(45)
    assert machine.run(15, 2).balance == pytest.approx(72)
    assert machine.run(6, 0).balance == pytest.approx(72)


def test_example_of_an_unlimited_t3_nano() -> None:
    """P1 to P7 of "Explain credit use with T3 Unlimited"."""
    machine = Machine(T3_NANO_UNLIMITED, 2)
    machine.run(24, 0)
    machine.run(12, 2.5)
    machine.run(24, 7)
    assert machine.run(12, 2.5).earned == pytest.approx(122.4)
    burst = machine.run(5, 100)
    # 600 credits are used, of which 30 are earned meanwhile: the page's 570 - 122 = 448 surplus, of which 144 may be owed.
    assert burst.earned == 0
    assert burst.surplus == pytest.approx(144)
    assert burst.charged == pytest.approx(570 - 122.4 - 144)
    assert machine.run(13, 5).surplus == pytest.approx(144)
    paid = machine.run(24, 0)
    assert (paid.surplus, paid.earned) == (pytest.approx(0, abs=1e-6), pytest.approx(0, abs=1e-6))
    assert machine.run(1, 0).earned == pytest.approx(6)


def test_equation_of_five_minutes() -> None:
    """ "CPUCreditBalance = 2 + [0.5 - 1] = 1.5"."""
    account = settled(Account(0, 0.0, False, run=1, earned=2.0), T3_NANO, 300.0, 1, 60_000_000_000)
    assert account.balance == pytest.approx(1.5)


@pytest.mark.parametrize(("per_hour", "cpus", "percent"), [(6, 2, 5), (96, 4, 40), (54, 4, 22.5), (81.6, 8, 17)])
def test_baseline_of_the_table(per_hour: float, cpus: int, percent: float) -> None:
    wish = CpuCredits(per_hour, unlimited=False)
    assert cpus_allowed(opened(wish, 0.0), wish, cpus) == pytest.approx(cpus * percent / 100)


def test_switching_charges_what_is_owed_and_takes_launch_credits() -> None:
    owing = Account(0, 0.0, True, surplus=10.0, charged=1.0)
    assert switched(owing, unlimited=False) == Account(0, 0.0, False, charged=11.0)
    new = opened(T2_NANO, 0.0)
    assert (new.launch, switched(new, unlimited=True).balance) == (30, 0)
    assert switched(switched(new, unlimited=True), unlimited=False).balance == 0


def test_an_unlimited_machine_gets_no_launch_credits_and_is_never_held() -> None:
    wish = CpuCredits(3, unlimited=True, launch=30)
    account = opened(wish, 0.0)
    assert account.balance == 0
    assert cpus_allowed(account, wish, 1) == 1
    assert look_again_s(account, wish, 1) == math.inf


def test_at_full_load_it_comes_down_to_its_baseline_in_a_straight_line_of_fifteen_minutes() -> None:
    wish, cpus = CpuCredits(12, unlimited=False), 2.0
    account = standing(earned=(2.0 - 0.2) * 7.5)
    allowed = [cpus_allowed(account, wish, cpus)]
    used_ns = 0.0
    for step in range(1, round(FADE_S / STEP_S) + 4):
        used_ns += allowed[-1] * STEP_S * 1e9
        account = settled(account, wish, step * STEP_S, 1, round(used_ns))
        allowed.append(cpus_allowed(account, wish, cpus))
    assert allowed[0] == 2.0
    assert allowed[30] == pytest.approx(1.1, abs=0.1)
    assert allowed[-1] == pytest.approx(0.2, abs=0.04)
    assert allowed == sorted(allowed, reverse=True)
    assert max(before - after for before, after in pairwise(allowed)) <= 2 * 1.8 / 60 + 1e-9


def standing(earned: float) -> Account:
    return Account(0, 0.0, False, run=1, earned=earned)


def test_a_full_account_is_not_looked_at_before_it_can_be_low() -> None:
    wish = CpuCredits(12, unlimited=False)
    assert look_again_s(standing(13.5 + 1.8), wish, 2) == pytest.approx(60)
    assert look_again_s(standing(1.0), wish, 2) == STEP_S
    assert look_again_s(standing(288), wish, 2) == 300


def test_a_run_that_began_anew_counts_from_its_beginning_and_an_old_look_counts_nothing() -> None:
    account = Account(0, 0.0, False, run=1, cpu_ns=90_000_000_000, earned=10.0)
    assert settled(account, T3_NANO, 0.0, 2, 60_000_000_000).earned == pytest.approx(9)
    assert settled(account, T3_NANO, 0.0, 1, 60_000_000_000) == account


looks = st.lists(st.tuples(st.floats(0, 600), st.floats(0, 1)), max_size=40)


@given(looks, st.booleans(), st.floats(0, 144), st.floats(0, 60))
def test_limits_hold_whatever_happens(
    steps: list[tuple[float, float]], unlimited: bool, earned: float, launch: float
) -> None:
    wish = CpuCredits(6, unlimited, earned=earned, launch=launch)
    account, now, cpu_ns = opened(wish, 0.0), 0.0, 0
    for passed, share in steps:
        now, cpu_ns = now + passed, cpu_ns + round(passed * 2 * share * 1e9)
        before, account = account, settled(account, wish, now, 1, cpu_ns)
        assert 0 <= account.earned <= wish.most
        assert 0 <= account.surplus <= wish.most
        assert account.earned == 0 or account.surplus == 0
        assert account.launch <= before.launch
        assert account.charged >= before.charged
        assert min(2.0, wish.baseline) <= cpus_allowed(account, wish, 2.0) <= 2.0


@given(st.lists(st.floats(0.001, 50), min_size=1, max_size=20), st.floats(0, 0.04))
def test_how_often_it_is_looked_makes_no_difference(gaps: list[float], cpus: float) -> None:
    """While no limit is met: an agent that was away has missed nothing."""
    account = once = Account(0, 0.0, False, run=1, earned=50.0)
    now = 0.0
    for gap in gaps:
        now += gap
        account = settled(account, T3_NANO, now, 1, round(now * cpus * 1e9))
    assert account.earned == pytest.approx(settled(once, T3_NANO, now, 1, round(now * cpus * 1e9)).earned, abs=1e-6)
