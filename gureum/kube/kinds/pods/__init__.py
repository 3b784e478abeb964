"""Pods and the templates that make them.

pods.py              the rules of both kinds, what an update may touch, the class of quality of service
defaults.py          what is filled in
checks.py            what may be wrong: the specification, its volumes and tolerations …
container_checks.py  … one container of it …
further_checks.py    … and what else: where it may run, who it is on its node
"""
