"""GET /distribution/{name}/json: what a registry has under a name, without pulling it."""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec

from gureum.docker.call import Call, operation
from gureum.docker.images.pull import machine_errors
from gureum.docker.images.references import DEFAULT_TAG, parse
from gureum.docker.images.registry import INDEXES
from gureum.docker.images.registry_auth import Auth
from gureum.docker.images.registry_talks import Talk, Talks


@operation("GET", "/distribution/{name:path}/json")
async def inspect_distribution(call: Call) -> None:
    """Docker: DistributionInspect."""
    reference = parse(call.args["name"])

    def ask(talk: Talk) -> dict[str, Any]:
        registry = talk.registry(reference)
        body, media_type, digest = registry.manifest(reference.digest or reference.tag or DEFAULT_TAG)
        found = msgspec.json.decode(body)
        if media_type in INDEXES or "manifests" in found:
            platforms = [dict(one["platform"]) for one in found["manifests"] if one.get("platform")]
        else:
            platforms = [_platform(msgspec.json.decode(registry.blob(str(found["config"]["digest"]))))]
        descriptor = {"mediaType": media_type, "digest": digest, "size": len(body)}
        return {"Descriptor": descriptor, "Platforms": platforms}

    auth = Auth(call.request.headers.get("x-registry-auth", ""))
    await call.send(200, await call.world.part(Talks).run(auth, partial(machine_errors, ask)))


def _platform(config: dict[str, Any]) -> dict[str, Any]:
    keys = ("architecture", "os", "os.version", "os.features", "variant")
    return {key: config[key] for key in keys if config.get(key)}
