"""What gureum's own services use of a neighbour's, and is not deleted there as long as they do.

Kinds whose objects use server certificates of IAM have an index of those' ids (elbv2.Listener), and are owned by what AWS names in its refusal; so
the neighbours need not know their service.
"""

from __future__ import annotations

from gureum.aws.acm.users import arn_of_user
from gureum.aws.errors import AwsError
from gureum.aws.neighbours.refusals import parameter
from gureum.aws.protocols import Request
from gureum.core.neighbours import SERVER_CERTIFICATE, NeighbourRefused, Neighbours
from gureum.engine.client import Client

DELETING = "DeleteServerCertificate"
INDEX_OF_USERS = "server-certificate"


async def check_unused(neighbours: Neighbours, client: Client, account: str, region: str, request: Request) -> None:
    """Before DeleteServerCertificate. AWS: DeleteConflict, "is currently in use by" the load balancer, of whatever region."""
    name = parameter(request, "ServerCertificateName")
    try:
        found = await neighbours.ask("iam", SERVER_CERTIFICATE, account, region, {"Name": name})
    except NeighbourRefused:
        return  # whoever answers the call says so
    user = _user(client, account, found["Id"])
    if user:
        text = f"Certificate: {found['Id']} is currently in use by {user}."
        text += " Please remove it first before deleting it from IAM."
        raise AwsError("DeleteConflict", text, status=409)


def _user(client: Client, account: str, id_: str) -> str:
    """The ARN of the owner of one that uses it; "" for none."""
    for kind in client.kinds():
        if INDEX_OF_USERS not in kind.indexes:
            continue
        for scope in sorted(client.sizes(kind.type)):
            users = client.by(kind.type, scope, INDEX_OF_USERS, id_) if scope.startswith(f"{account}/") else []
            owners = (client.by_key(one.meta.owner) for one in users if one.meta.owner)
            if found := next((owner for owner in owners if owner is not None), None):
                return arn_of_user(found)
    return ""
