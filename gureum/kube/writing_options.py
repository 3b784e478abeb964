"""What a client says beside a write."""

from __future__ import annotations

from gureum.kube.errors import StatusError
from gureum.kube.requests import Request


def dry_run(request: Request) -> bool:
    wanted = request.query.get("dryRun", [])
    if any(one != "All" for one in wanted):
        text = f'dryRun: Unsupported value: {wanted}: supported values: "All"'
        raise StatusError(
            422,
            "Invalid",
            f'CreateOptions.meta.k8s.io "" is invalid: {text}',
            {"group": "meta.k8s.io", "kind": "CreateOptions"},
        )
    return bool(wanted)
