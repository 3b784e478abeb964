"""What is filled into pods and templates. Source: Kubernetes API reference (Pod v1); pkg/apis/core/v1/defaults.go."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]
MODE = 0o644
CONTAINER_LISTS = ("initContainers", "containers", "ephemeralContainers")


def default_template(template: Object) -> None:
    """A pod template, of any workload."""
    template.setdefault("metadata", {})
    default_spec(template.setdefault("spec", {}))


def default_spec(spec: Object) -> None:
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("securityContext", {})
    spec.setdefault("schedulerName", "default-scheduler")
    for name in CONTAINER_LISTS:
        for one in spec.get(name) or ():
            _default_container(one, spec)
    for volume in spec.get("volumes") or ():
        _default_volume(volume)
    for one in spec.get("serviceAccountName"), spec.get("serviceAccount"):
        if one:  # two names of one field
            spec["serviceAccountName"] = spec["serviceAccount"] = one
            break


def _default_container(one: Object, spec: Object) -> None:
    one.setdefault("imagePullPolicy", "Always" if _is_latest(one.get("image", "")) else "IfNotPresent")
    one.setdefault("terminationMessagePath", "/dev/termination-log")
    one.setdefault("terminationMessagePolicy", "File")
    one.setdefault("resources", {})
    for port in one.get("ports") or ():
        port.setdefault("protocol", "TCP")
        if spec.get("hostNetwork") and not port.get("hostPort"):
            port["hostPort"] = port.get("containerPort")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        probe = one.get(name)
        if probe is not None:
            for field, number in (
                ("timeoutSeconds", 1),
                ("periodSeconds", 10),
                ("successThreshold", 1),
                ("failureThreshold", 3),
            ):
                if not probe.get(field):
                    probe[field] = number
            _default_handler(probe)
    for hook in (one.get("lifecycle") or {}).values():
        if isinstance(hook, dict):
            _default_handler(hook)
    for env in one.get("env") or ():
        reference = (env.get("valueFrom") or {}).get("fieldRef")
        if reference is not None:
            reference.setdefault("apiVersion", "v1")


def _default_handler(handler: Object) -> None:
    http = handler.get("httpGet")
    if http is not None:
        http.setdefault("path", "/")
        http.setdefault("scheme", "HTTP")
    if handler.get("grpc") is not None:
        handler["grpc"].setdefault("service", "")


def _is_latest(image: str) -> bool:
    """Whether an image may be another tomorrow."""
    if "@" in image:
        return False
    tag = image.rpartition("/")[2].partition(":")[2]
    return tag in ("", "latest")


def _default_volume(volume: Object) -> None:
    sources = [name for name in volume if name != "name"]
    if not sources:
        volume["emptyDir"] = {}
    for name in ("secret", "configMap", "downwardAPI", "projected"):
        if volume.get(name) is not None:
            volume[name].setdefault("defaultMode", MODE)
    if volume.get("hostPath") is not None:
        volume["hostPath"].setdefault("type", "")
    if volume.get("ephemeral"):
        volume["ephemeral"].get("volumeClaimTemplate", {}).setdefault("spec", {}).setdefault("volumeMode", "Filesystem")
    items = list((volume.get("downwardAPI") or {}).get("items") or ())
    for source in (volume.get("projected") or {}).get("sources") or ():
        if source.get("serviceAccountToken") is not None:
            source["serviceAccountToken"].setdefault("expirationSeconds", 3600)
        items += (source.get("downwardAPI") or {}).get("items") or ()
    for item in items:
        if item.get("fieldRef") is not None:
            item["fieldRef"].setdefault("apiVersion", "v1")
