"""What the agent's start loads."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from gureum.base.clock import SystemClock
from gureum.drivers.keys.late_ca import LateCa


def test_agent_loads_no_cryptography_and_no_face() -> None:
    program = "import sys, gureum.agent; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert {"cryptography", "botocore", "uvicorn", "gureum.aws"}.isdisjoint(loaded)
    assert "gureum.drivers.imds.server" in loaded


def test_certificates_are_there_when_asked_for(tmp_path: Path) -> None:
    async def ask() -> tuple[bytes, bytes, bytes]:
        ca = LateCa(tmp_path / "ca", SystemClock())
        first, second = await asyncio.gather(ca.ca_pem(), ca.ca_pem())
        issued = await ca.issue(("web.test",), days=1)
        return first, second, issued.chain_pem

    first, second, chain = asyncio.run(ask())
    assert first == second
    assert chain.endswith(first)
