"""What StatefulSets and DaemonSets have in common: pods of several revisions of a template, and one look at all of them."""

from __future__ import annotations

from collections.abc import Callable

from gureum.kube.controllers.client import Client
from gureum.kube.controllers.loop import Reconcile
from gureum.kube.controllers.workloads.pods import PODS, available_in, claim
from gureum.kube.controllers.workloads.revisions import Revisions, forget_old, label_of, revisions_of
from gureum.kube.objects import Object
from gureum.kube.selectors import from_object


class RevisedSet:
    """One look at a set and its pods. `in_use`: revisions that are kept beside those that a pod was made by."""

    def __init__(self, client: Client, owner: Object, pods: list[Object], revisions: Revisions) -> None:
        self._client = client
        self._owner = owner
        self._spec: Object = owner["spec"]
        self._meta: Object = owner["metadata"]
        self._revisions = revisions
        self._new = label_of(revisions.current)
        self._min_ready_s = int(self._spec.get("minReadySeconds") or 0)
        self.pods = pods

    @property
    def in_use(self) -> set[str]:
        return set()

    async def act(self) -> None:
        """The next steps to what is wished."""
        raise NotImplementedError

    async def tell(self) -> float | None:
        """Writes the status; in how many seconds it will be another without anybody's doing."""
        raise NotImplementedError

    def _is_available(self, pod: Object) -> bool:
        if pod["metadata"].get("deletionTimestamp"):
            return False
        return available_in(pod, self._min_ready_s, self._client.clock.now()) == 0

    async def _set_status(self, storage: str, status: Object, manager: str) -> None:
        meta = self._meta
        await self._client.set_status(storage, meta["namespace"], meta["name"], status, manager, meta["uid"])


Look = Callable[[Client, Object, list[Object], Revisions], RevisedSet]


def reconciler(storage: str, look_at: Look, manager: str) -> Reconcile:
    async def reconcile(client: Client, key: str) -> float | None:
        namespace, _, name = key.partition("/")
        owner = client.get(storage, namespace, name)
        if owner is None:
            return None
        pods = await claim(client, owner, PODS, from_object(owner["spec"]["selector"]) or (), manager)
        revisions = await revisions_of(client, owner, manager)
        look = look_at(client, owner, pods, revisions)
        if not owner["metadata"].get("deletionTimestamp"):
            await look.act()
        again = await look.tell()
        labels = {revisions.name_of(pod) for pod in look.pods}
        used = {one["metadata"]["name"] for one in revisions.known if label_of(one) in labels}
        await forget_old(client, owner, revisions, used | look.in_use, manager)
        return again

    return reconcile
