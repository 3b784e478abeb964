"""An object as the answer to a request that changed it, in the form that its client asks for: itself, its metadata, a row of a Table."""

from __future__ import annotations

from gureum.kube.forms import Forms
from gureum.kube.kinds.conversion import convert
from gureum.kube.kinds.kind import Kind
from gureum.kube.kinds.warnings import TEMPLATES, of_new, of_template
from gureum.kube.objects import SEALED, Object, Objects, show
from gureum.kube.requests import Request, Response, wish_of
from gureum.kube.verbs.options import dry_run
from gureum.store.contract import Entry

LIMIT_WARNINGS = 100


class Answers:
    def __init__(self, objects: Objects, forms: Forms) -> None:
        self._objects = objects
        self._forms = forms

    def of_created(self, request: Request, kind: Kind, obj: Object) -> Response:
        """201, with warnings of what is deprecated in it."""
        request.warn(of_new(kind.storage, obj)[:LIMIT_WARNINGS])
        return self.of(request, kind, obj, 201)

    def of_changed(self, request: Request, kind: Kind, obj: Object, before: Entry) -> Response:
        """200, with warnings of a template, if what it is in was changed."""
        if kind.storage in TEMPLATES:
            known = self._objects.decode(before)["metadata"].get("generation")
            if obj["metadata"].get("generation") != known:
                request.warn(of_template(kind.storage, obj)[:LIMIT_WARNINGS])
        return self.of(request, kind, obj, 200)

    def of(self, request: Request, kind: Kind, obj: Object, status: int) -> Response:
        wish = wish_of(request.headers.get("accept", ""))
        value = show(convert(obj, kind)) if dry_run(request) else self._shown(kind, obj)
        if wish.form == "Table":
            return Response(
                status, self._forms.table(kind, value, wish, request.parameter("includeObject")), wish.content_type
            )
        if wish.form:
            return Response(status, self._forms.partial(value, wish), wish.content_type)
        return Response(status, value + b"\n")

    def _shown(self, kind: Kind, obj: Object) -> bytes:
        """As the store has it, if it is what was stored."""
        metadata = obj["metadata"]
        if kind.storage not in SEALED:
            entry = self._objects.entry(kind.storage, metadata.get("namespace", ""), metadata.get("name", ""))
            if entry is not None and str(entry.revision) == metadata.get("resourceVersion"):
                return self._forms.shown(kind, entry)
        return show(convert(obj, kind))
