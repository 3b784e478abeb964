"""CPU credits of machines that burst: what they earn, spend and owe, and how many processors that leaves them. Pure.

A credit is one virtual processor for one minute. A machine earns `per_hour` of them while it runs, up to a day's worth, and spends what its
processors really did. Without credits a standard machine has its baseline, at which it earns what it spends; an unlimited one goes on and owes
surplus credits, which it pays back before it saves again. More than a day's worth of them is charged.

    cpus ┤████████████████▄            a standard machine at full load: the last FADE_S are a straight way down,
         │                 ▀▄▄         whose length is what the balance still gives, so that none of it is kept in mind
    base ┤                    ▀████    but the balance

Nothing here is bound to when it is looked: earning goes by the clock, spending by the control group's counter, so an account that nobody settled
for a while (an agent that was away) is as good as one that was.

AWS: "Key concepts for burstable performance instances", "Unlimited mode concepts", "Standard mode concepts", "Monitor your CPU credits" (EC2 user
guide); that a standard one comes down within 15 minutes stood in its pages on T2.
"""

from __future__ import annotations

import math

import msgspec

HOURS_KEPT = 24
"""Earned credits are kept for so many hours' worth, and so many may be owed without a charge."""
FADE_S = 900.0
STEPS = 60
"""The way down and up has so many steps, so that a quota is written only when it has changed noticeably."""
STEP_S = FADE_S / STEPS
LONGEST_S = 300.0
SET_BACK_S = 60.0
"""A look that is so much older than its account is no late one: somebody has set the clock back."""
_NS_PER_CREDIT = 60e9


class CpuCredits(msgspec.Struct, frozen=True):
    """What a machine is wished to have. `start`: counts its starts: with another number it begins with `earned` and `launch` credits, the latter
    on top of what it may keep and spent first. `unlimited`: it may owe."""

    per_hour: float
    unlimited: bool
    start: int = 0
    earned: float = 0.0
    launch: float = 0.0

    @property
    def most(self) -> float:
        return self.per_hour * HOURS_KEPT

    @property
    def baseline(self) -> float:
        """Processors that it earns as fast as it uses them."""
        return self.per_hour / 60


class Account(msgspec.Struct, frozen=True):
    """How a machine stands. `time`: Unix seconds until which that is so; `run`: of its container, 0 while it does not run; `cpu_ns`: that run's
    counter then. `surplus`: owed; `charged`: of what it owed, since this start."""

    start: int
    time: float
    unlimited: bool
    run: int = 0
    cpu_ns: int = 0
    earned: float = 0.0
    launch: float = 0.0
    surplus: float = 0.0
    charged: float = 0.0

    @property
    def balance(self) -> float:
        return self.earned + self.launch


def opened(wish: CpuCredits, now: float) -> Account:
    """As the machine starts."""
    launch = 0.0 if wish.unlimited else wish.launch
    return Account(wish.start, now, wish.unlimited, earned=min(wish.earned, wish.most), launch=launch)


def settled(account: Account, wish: CpuCredits, now: float, run: int, cpu_ns: int) -> Account:
    """After what was earned and spent since. Of a new run all that its counter says is spent. A look that is older than the account changes
    nothing, unless the clock was set back: then it earns from now on, and does not wait for the time that was. AWS: "Monitor your CPU credits",
    "Calculate CPU credit usage"."""
    before = account.cpu_ns if run == account.run else 0
    spent = max(0, cpu_ns - before) / _NS_PER_CREDIT
    since = now if account.time - now > SET_BACK_S else account.time
    gain = wish.per_hour * max(0.0, now - since) / 3600
    seen = msgspec.structs.replace(account, time=max(now, since), run=run, cpu_ns=max(cpu_ns, before))
    if account.unlimited:
        return _settled_unlimited(seen, wish, gain - spent)
    launch = max(0.0, account.launch - spent)
    earned = account.earned + gain - (spent - (account.launch - launch))
    return msgspec.structs.replace(seen, launch=launch, earned=min(max(earned, 0.0), wish.most))


def _settled_unlimited(account: Account, wish: CpuCredits, gained: float) -> Account:
    adjusted = account.earned - account.surplus + gained
    if adjusted >= 0:
        return msgspec.structs.replace(account, earned=min(adjusted, wish.most), surplus=0.0)
    charged = account.charged + max(0.0, -adjusted - wish.most)
    return msgspec.structs.replace(account, earned=0.0, surplus=min(-adjusted, wish.most), charged=charged)


def switched(account: Account, unlimited: bool) -> Account:
    """Between standard and unlimited: what is owed is charged at once, launch credits go, what was earned is carried over. AWS: "What happens to
    credits when switching between Unlimited and Standard"."""
    if account.unlimited == unlimited:
        return account
    charged = account.charged + account.surplus
    return msgspec.structs.replace(account, unlimited=unlimited, launch=0.0, surplus=0.0, charged=charged)


def cpus_allowed(account: Account, wish: CpuCredits, cpus: float) -> float:
    """Of its `cpus` virtual processors, how many it may use now. Never less than its baseline."""
    baseline = min(cpus, wish.baseline)
    if account.unlimited:
        return cpus
    fade = _fade_credits(wish, cpus)
    # At full load the root of what is left falls straight with time: its fall is the quota's square.
    share = 1.0 if account.balance >= fade else math.floor(math.sqrt(account.balance / fade) * STEPS) / STEPS
    return baseline + (cpus - baseline) * share


def look_again_s(account: Account, wish: CpuCredits, cpus: float) -> float:
    """Until what it may use can have changed; infinite when it never does."""
    if account.unlimited or cpus <= wish.baseline:
        return math.inf
    spare = account.balance - _fade_credits(wish, cpus)
    return min(max(spare * 60 / (cpus - wish.baseline), STEP_S), LONGEST_S)


def _fade_credits(wish: CpuCredits, cpus: float) -> float:
    """What the way down costs beyond what is earned meanwhile: half of the full speed, for as long as it takes."""
    return max(0.0, cpus - wish.baseline) * FADE_S / 60 / 2
