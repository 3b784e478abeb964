"""AWS Certificate Manager: certificates that are imported, or issued by the home's own certificate authority.

    ImportCertificate ───────────────────► ISSUED           load balancers take chain and sealed key from the object
    RequestCertificate ─► PENDING_VALIDATION ─reconcile─► ISSUED, renewed in time; FAILED for a name the authority may not sign

Nobody is asked to prove that a domain is theirs: here every domain is the user's own, and no client outside this home trusts the authority. So the
validation records are shown as AWS shows them, and are never looked up (docs/decisions/0032).
"""
