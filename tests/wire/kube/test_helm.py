"""Helm's life of a release, with the chart that `helm create` makes."""

from __future__ import annotations

import json


def test_a_release_is_installed_upgraded_rolled_back_and_removed(helm, kubectl, tmp_path):
    helm("create", str(tmp_path / "chart"))
    helm("install", "r1", str(tmp_path / "chart"))
    assert json.loads(helm("list", "-o", "json"))[0]["status"] == "deployed"
    helm("upgrade", "r1", str(tmp_path / "chart"), "--set", "replicaCount=2")
    assert kubectl("get", "deploy", "r1-chart", "-o", "jsonpath={.spec.replicas}") == "2"
    helm("rollback", "r1", "1")
    assert kubectl("get", "deploy", "r1-chart", "-o", "jsonpath={.spec.replicas}") == "1"
    assert [one["revision"] for one in json.loads(helm("history", "r1", "-o", "json"))] == [1, 2, 3]
    helm("uninstall", "r1")
    assert (
        json.loads(kubectl("get", "deploy,svc,sa", "-l", "app.kubernetes.io/instance=r1", "-o", "json"))["items"] == []
    )
