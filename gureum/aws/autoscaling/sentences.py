"""The sentences in which activities tell what was done and why, as AWS writes them. Pure.

AWS: "Verify a scaling activity for an Auto Scaling group" (user guide), and the Cause and Description of recorded activities.
"""

from __future__ import annotations

import time


def clock_text(seconds: float) -> str:
    """ "2026-01-31T12:00:00Z"."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def launching(instance: str, whence: str = "") -> str:
    """`whence`: " into warm pool", " from warm pool"."""
    return f"Launching a new EC2 instance{whence}: {instance}" if instance else "Launching a new EC2 instance"


def terminating(instance: str) -> str:
    return f"Terminating EC2 instance: {instance}"


def started_cause(why: str, now: float, before: int, after: int, *, warm: bool = False) -> str:
    """`before`, `after`: the group's capacity, or the size of its warm pool (`warm`)."""
    if not why and not warm:
        return f"At {clock_text(now)} an instance was launched in response to an unhealthy instance needing to be replaced."
    text = "an instance was started in response to a difference between desired and actual capacity, increasing the capacity"
    return f"{why}  At {clock_text(now)} {text} from {before} to {after}.".strip()


def user_cause(now: float, instance: str, done: str, before: int, after: int) -> str:
    """Of what a user did to one instance. `done`: "moved to standby", "detached", …; `before`, `after`: the group's capacity."""
    text = f"At {clock_text(now)} instance {instance} was {done} in response to a user request"
    if before == after:
        return f"{text}."
    return f"{text}, {'shrinking' if after < before else 'increasing'} the capacity from {before} to {after}."


def balancing_cause(now: float, counts: dict[str, int]) -> str:
    """Of a launch where there are fewest. `counts`: instances by zone."""
    zones, numbers = " ".join(counts), " ".join(map(str, counts.values()))
    had = f"availability zones {zones} had {numbers} instances respectively"
    return f"At {clock_text(now)} {had}. An instance was launched to aid in balancing the group's zones."


def shrunk_cause(why: str, now: float, instance: str, before: int, after: int) -> str:
    text = "an instance was taken out of service in response to a difference between desired and actual capacity, shrinking the capacity"
    chosen = f"At {clock_text(now)} instance {instance} was selected for termination."
    return f"{why}  At {clock_text(now)} {text} from {before} to {after}.  {chosen}".strip()


def ec2_unhealthy_cause(now: float, state: str) -> str:
    """AWS: "EC2 health check" of the instance's own state."""
    if state in ("stopping", "stopped", "shutting-down", "terminated"):
        return (
            f"At {clock_text(now)} an instance was taken out of service in response to an EC2 health check indicating it has been "
            "terminated or stopped."
        )
    return f"At {clock_text(now)} an instance was taken out of service in response to an EC2 instance status checks failure."


def elb_unhealthy_cause(now: float) -> str:
    return (
        f"At {clock_text(now)} an instance was taken out of service in response to an ELB system health check failure."
    )


def ebs_unhealthy_cause(now: float) -> str:
    return (
        f"At {clock_text(now)} an instance was taken out of service in response to an EBS volume health check failure."
    )


def user_unhealthy_cause(now: float) -> str:
    return f"At {clock_text(now)} an instance was taken out of service in response to a user health-check."


def abandoned_cause(now: float) -> str:
    return f"At {clock_text(now)} an instance was taken out of service in response to an abandoned lifecycle action."


def warm_surplus_cause(now: float) -> str:
    return f"At {clock_text(now)} an instance was taken out of the warm pool in response to a difference between its wished and its actual size."


def refresh_cause(now: float, instance: str) -> str:
    chosen = f"At {clock_text(now)} instance {instance} was selected for termination."
    return f"At {clock_text(now)} an instance was taken out of service in response to an instance refresh.  {chosen}"


def refreshed_cause(now: float) -> str:
    """Of a launch. Programs in machines look for it to know whether a refresh has brought them."""
    return f"At {clock_text(now)} an instance was launched in response to an instance refresh."


def rebalanced_cause(now: float) -> str:
    return f"At {clock_text(now)} an instance was taken out of service in response to the Availability Zones of the group being unbalanced."


def lifetime_cause(now: float) -> str:
    return f"At {clock_text(now)} an instance was taken out of service in response to maximum instance lifetime."


def interrupted_cause(now: float) -> str:
    return f"At {clock_text(now)} an instance was taken out of service in response to an EC2 instance rebalance recommendation."
