"""The entrance: who asks, and whether he may.

A client's certificate or a token says who it is; without either it is nobody in particular, who may read what is public. Who may may act as another
(impersonation).
"""

from __future__ import annotations

from contextlib import suppress
from urllib.parse import unquote

from gureum.kube.access.rbac import Act, Rbac
from gureum.kube.access.tokens import Tokens
from gureum.kube.errors import StatusError, details_of, unauthorized
from gureum.kube.requests import ANONYMOUS, BETWEEN, STRANGER, Request, Target, User
from gureum.kube.selectors import parse_fields

AUTHENTICATED = "system:authenticated"
UNAUTHENTICATED = "system:unauthenticated"
AUTHENTICATION = "authentication.k8s.io"
_BESIDE_A_USER = ("impersonate-group", "impersonate-uid")
_EXTRA = "impersonate-extra-"


class Entrance:
    def __init__(self, rbac: Rbac, tokens: Tokens) -> None:
        self._rbac = rbac
        self._tokens = tokens

    def enter(self, request: Request) -> None:
        """Says who asks. Unauthorized; Forbidden for who may not be whom he wants to be."""
        request.user = self._who(request)
        wanted = request.headers.get("impersonate-user", "")
        if wanted:
            request.user = self._impersonated(request, wanted)
            return
        more = [name for name in request.headers if name in _BESIDE_A_USER or name.startswith(_EXTRA)]
        if more:
            raise StatusError(400, "BadRequest", f"requested {', '.join(more)} without impersonating a user")

    def _who(self, request: Request) -> User:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            user = self._tokens.user_of(token.strip())
            if user is None:
                raise unauthorized()
            return user
        if scheme or request.peer == STRANGER:
            raise unauthorized()
        return request.peer or ANONYMOUS

    def _impersonated(self, request: Request, name: str) -> User:
        """Source: Kubernetes, "User impersonation"; k8s.io/apiserver/pkg/endpoints/filters (which groups are added)."""
        kind, shown, namespace = "users", name, ""
        parts = name.split(":")
        if name.startswith("system:serviceaccount:") and len(parts) == 4:
            kind, namespace, shown = "serviceaccounts", parts[2], parts[3]
        groups = [one for one in request.headers.get("impersonate-group", "").split(BETWEEN) if one]
        uid, extra = request.headers.get("impersonate-uid", ""), _extra_of(request)
        wanted = [Act("impersonate", "", kind, "", namespace, shown)]
        wanted += [Act("impersonate", "", "groups", "", "", group) for group in groups]
        wanted += [
            Act("impersonate", AUTHENTICATION, "userextras", key, "", value)
            for key, values in extra.items()
            for value in values
        ]
        wanted += [Act("impersonate", AUTHENTICATION, "uids", "", "", uid)] if uid else []
        for act in wanted:
            if not self._rbac.allows(request.user, act):
                raise _forbidden(request.user, act)
        if kind == "serviceaccounts" and not groups:
            groups = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}"]
        if not {AUTHENTICATED, UNAUTHENTICATED} & set(groups):
            groups.append(UNAUTHENTICATED if name == ANONYMOUS.name else AUTHENTICATED)
        return User(name, tuple(groups), uid, extra)

    def require(self, request: Request, target: Target, verb: str) -> None:
        """Forbidden, when the user may not."""
        kind = target.kind
        sub = target.subresource.name if target.subresource else ""
        namespace = target.name if kind.storage == "core/namespaces" and not target.namespace else target.namespace
        name = target.name or _selected_name(request, target, verb)
        act = Act(verb, kind.group, kind.plural, sub, namespace, name)
        if not self._rbac.allows(request.user, act):
            error = _forbidden(request.user, act)
            error.details = details_of(kind, name)
            raise error

    def require_path(self, request: Request) -> None:
        act = Act(request.method.lower().replace("head", "get"), path=request.path)
        if not self._rbac.allows(request.user, act):
            text = f'forbidden: User "{request.user.name}" cannot {act.verb} path "{act.path}"'
            raise StatusError(403, "Forbidden", text, {})


def _selected_name(request: Request, target: Target, verb: str) -> str:
    """The one object that a list or watch is about (`kubectl get pod a --watch`): who may see it by its name may do so.
    Source: k8s.io/apiserver/pkg/endpoints/request (RequestInfoFactory)."""
    if verb not in ("list", "watch"):
        return ""
    with suppress(StatusError):  # which is told when it is read
        for one in parse_fields(request.parameter("fieldSelector"), target.kind.storage):
            if one.field == "metadata.name" and not one.negated:
                return one.value
    return ""


def _extra_of(request: Request) -> dict[str, list[str]]:
    """What else is to be said of the user: `Impersonate-Extra-acme.com%2Fproject: a` is `acme.com/project`."""
    return {
        unquote(name.removeprefix(_EXTRA)): value.split(BETWEEN)
        for name, value in request.headers.items()
        if name.startswith(_EXTRA)
    }


def _forbidden(user: User, act: Act) -> StatusError:
    full = f"{act.resource}.{act.group}" if act.group else act.resource
    what = f"{act.resource}/{act.subresource}" if act.subresource else act.resource
    where = f'in the namespace "{act.namespace}"' if act.namespace else "at the cluster scope"
    name = f' "{act.name}"' if act.name else ""
    text = f'{full}{name} is forbidden: User "{user.name}" cannot {act.verb} resource "{what}" in API group "{act.group}" {where}'
    return StatusError(403, "Forbidden", text, {"kind": act.resource} | ({"name": act.name} if act.name else {}))
