"""Which table a kind has, and the Table object that `kubectl get` asks for. Source: Kubernetes API concepts, "Receiving resources as Tables"."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from gureum.kube.tables import cluster, network, storage, workloads
from gureum.kube.tables.column import Column, Object, Table
from gureum.kube.tables.custom import custom_table

TABLES: dict[tuple[str, str], Table] = {
    ("", "ComponentStatus"): cluster.component_statuses,
    ("", "ConfigMap"): cluster.config_maps,
    ("", "Endpoints"): network.endpoints,
    ("", "Event"): cluster.events,
    ("", "LimitRange"): cluster.by_time,
    ("", "Namespace"): cluster.namespaces,
    ("", "Node"): cluster.nodes,
    ("", "PersistentVolume"): storage.volumes,
    ("", "PersistentVolumeClaim"): storage.claims,
    ("", "Pod"): workloads.pods,
    ("", "PodTemplate"): workloads.pod_templates,
    ("", "ReplicationController"): workloads.replica_sets,
    ("", "ResourceQuota"): cluster.quotas,
    ("", "Secret"): cluster.secrets,
    ("", "Service"): network.services,
    ("", "ServiceAccount"): cluster.service_accounts,
    ("", "Status"): cluster.statuses,
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"): cluster.webhook_configurations,
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"): cluster.webhook_configurations,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): cluster.by_time,
    ("apiregistration.k8s.io", "APIService"): cluster.api_services,
    ("apps", "ControllerRevision"): workloads.controller_revisions,
    ("apps", "DaemonSet"): workloads.daemon_sets,
    ("apps", "Deployment"): workloads.deployments,
    ("apps", "ReplicaSet"): workloads.replica_sets,
    ("apps", "StatefulSet"): workloads.stateful_sets,
    ("autoscaling", "HorizontalPodAutoscaler"): workloads.autoscalers,
    ("autoscaling", "Scale"): cluster.scales,
    ("batch", "CronJob"): workloads.cron_jobs,
    ("batch", "Job"): workloads.jobs,
    ("certificates.k8s.io", "CertificateSigningRequest"): cluster.signing_requests,
    ("coordination.k8s.io", "Lease"): cluster.leases,
    ("discovery.k8s.io", "EndpointSlice"): network.endpoint_slices,
    ("events.k8s.io", "Event"): cluster.events,
    ("flowcontrol.apiserver.k8s.io", "FlowSchema"): cluster.flow_schemas,
    ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration"): cluster.priority_levels,
    ("networking.k8s.io", "IPAddress"): network.ip_addresses,
    ("networking.k8s.io", "Ingress"): network.ingresses,
    ("networking.k8s.io", "IngressClass"): network.ingress_classes,
    ("networking.k8s.io", "NetworkPolicy"): network.network_policies,
    ("networking.k8s.io", "ServiceCIDR"): network.service_cidrs,
    ("node.k8s.io", "RuntimeClass"): cluster.runtime_classes,
    ("policy", "PodDisruptionBudget"): workloads.disruption_budgets,
    ("rbac.authorization.k8s.io", "ClusterRole"): cluster.by_time,
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): cluster.role_bindings,
    ("rbac.authorization.k8s.io", "Role"): cluster.by_time,
    ("rbac.authorization.k8s.io", "RoleBinding"): cluster.role_bindings,
    ("scheduling.k8s.io", "PriorityClass"): cluster.priority_classes,
    ("storage.k8s.io", "CSIDriver"): storage.csi_drivers,
    ("storage.k8s.io", "CSINode"): storage.csi_nodes,
    ("storage.k8s.io", "CSIStorageCapacity"): storage.csi_capacities,
    ("storage.k8s.io", "StorageClass"): storage.storage_classes,
    ("storage.k8s.io", "VolumeAttachment"): storage.volume_attachments,
    ("storage.k8s.io", "VolumeAttributesClass"): storage.volume_attributes_classes,
}


def table_of(group: str, kind: str, printer_columns: list[Object] | None = None) -> Table:
    """The table of a kind; of a custom resource, with the columns that its definition asks for."""
    if printer_columns is not None:
        return custom_table(printer_columns)
    return TABLES.get((group, kind), cluster.others)


def definitions(table: Table) -> list[dict[str, Any]]:
    """The `columnDefinitions` of a Table."""
    return [_definition(one) for one in table.columns]


def cells(table: Table, thing: Object, now: datetime) -> list[Any]:
    """An object's cells. What the object holds in a wrong form is shown as nothing, and never breaks the list."""
    try:
        return table.cells(thing, now)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        name = thing.get("metadata", {}).get("name", "")
        return [name if one.format == "name" else "" for one in table.columns]


def _definition(column: Column) -> dict[str, Any]:
    return {
        "name": column.name,
        "type": column.type,
        "format": column.format,
        "description": column.description,
        "priority": column.priority,
    }
