"""gureum's own metrics in Prometheus' text form (exposition format 0.0.4)."""

from __future__ import annotations

from typing import Any

from gureum.aws.gateway import Counters
from gureum.core.world import World


def render_metrics(world: World, counters: Counters, agent: dict[str, Any], cpu_s: float) -> str:
    """Calls, reconciles, queues, store and agent."""
    lines: list[str] = []
    _family(
        lines,
        "gureum_aws_calls_total",
        "counter",
        "API calls by service, operation and outcome.",
        [
            ({"service": service, "operation": operation, "outcome": outcome}, count)
            for (service, operation, outcome), count in sorted(counters.calls.items())
        ],
    )
    seconds = [
        ({"service": service, "operation": name}, value) for (service, name), value in sorted(counters.seconds.items())
    ]
    _family(lines, "gureum_aws_call_seconds_total", "counter", "Time spent in calls.", seconds)
    loop = world.loop
    single = [
        ("gureum_aws_faults_total", "counter", "Calls that ended in an exception nobody expected.", counters.faults),
        (
            "gureum_aws_conflicts_total",
            "counter",
            "Operations run again because another call was first.",
            counters.conflicts,
        ),
        ("gureum_reconcile_runs_total", "counter", "Reconciles of the control plane.", loop.runs),
        ("gureum_reconcile_retries_total", "counter", "Reconciles that asked to be run again.", loop.retries),
        (
            "gureum_reconcile_faults_total",
            "counter",
            "Reconciles that ended in an exception nobody expected.",
            loop.faults,
        ),
        ("gureum_reconcile_queue", "gauge", "Objects being reconciled or due.", loop.depth),
        ("gureum_store_revision", "counter", "Revision of the store.", world.client.store.revision),
        ("gureum_agent_connected", "gauge", "1 when the agent answers.", int(bool(agent.get("connected")))),
        ("gureum_agent_reconciles_total", "counter", "Reconciles of the agent.", agent.get("reconciles", 0)),
        (
            "gureum_agent_retries_total",
            "counter",
            "Reconciles of the agent that asked to be run again.",
            agent.get("retries", 0),
        ),
        ("gureum_agent_faults_total", "counter", "Agent reconciles that ended unexpectedly.", agent.get("faults", 0)),
        ("gureum_agent_queue", "gauge", "Core objects being reconciled or due.", agent.get("queue", 0)),
        ("gureum_agent_leaving", "gauge", "Core objects being torn down.", agent.get("leaving", 0)),
        ("process_cpu_seconds_total", "counter", "CPU time of the daemon.", round(cpu_s, 3)),
    ]
    for name, form, text, value in single:
        _family(lines, name, form, text, [({}, value)])
    objects = agent.get("objects", {})
    _family(
        lines,
        "gureum_core_objects",
        "gauge",
        "Core objects desired, by kind.",
        [({"kind": k}, v) for k, v in sorted(objects.items())],
    )
    return "\n".join(lines) + "\n"


def _family(lines: list[str], name: str, form: str, text: str, samples: list[tuple[dict[str, str], float]]) -> None:
    lines += [f"# HELP {name} {text}", f"# TYPE {name} {form}"]
    for labels, value in samples:
        inner = ",".join(f'{key}="{_escape(label)}"' for key, label in labels.items())
        lines.append(f"{name}{{{inner}}} {value}" if inner else f"{name} {value}")


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
