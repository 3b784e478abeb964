"""`gureum kube …`, beside kubectl."""

from __future__ import annotations

import argparse
from urllib.parse import urlsplit

import pytest

from gureum.base.homes import Home
from gureum.cli import kube as command
from gureum.cli.output import Failure


@pytest.fixture
def gureum(kube, monkeypatch):
    path = kube.folder.parent
    port = urlsplit(kube.url).port
    home = Home("kubes", path, path, "", "127.0.0.1", 0, 0, True, port)
    monkeypatch.setattr(command, "current_home", lambda: home)
    monkeypatch.setattr(command, "running", lambda _home: True)

    def run(*words):
        parser = argparse.ArgumentParser()
        command.configure(parser)
        return command.run(parser.parse_args(words))

    return run


def test_clusters_come_and_go(gureum, kubectl, capsys):
    gureum("clusters", "create", "west")
    gureum("clusters", "list")
    assert "west " in capsys.readouterr().out
    gureum("nodes", "--simulated", "2", "--cluster", "west")
    names = kubectl("--context", "west", "get", "nodes", "-o", "name").split()
    assert names == ["node/simulated-0", "node/simulated-1"]
    assert kubectl("get", "nodes", "-o", "name") == ""
    with pytest.raises(Failure, match='cluster "west" already exists'):
        gureum("clusters", "create", "west")
    gureum("clusters", "delete", "west")
    for words in (("clusters", "delete", "west"), ("nodes", "--simulated", "1", "--cluster", "west")):
        with pytest.raises(Failure, match="west"):
            gureum(*words)


def test_simulated_nodes_are_as_many_as_were_said(gureum, kubectl):
    gureum("nodes", "--simulated", "3")
    assert len(kubectl("get", "nodes", "-o", "name").split()) == 3
    gureum("nodes", "--simulated", "0")
    assert kubectl("get", "nodes", "-o", "name") == ""


def test_secrets_are_the_same_with_another_key(gureum, kubectl, capsys):
    kubectl("create", "secret", "generic", "kept", "--from-literal=k=v")
    before = int(kubectl("get", "secret", "kept", "-o", "jsonpath={.metadata.resourceVersion}"))
    gureum("rotate-key")
    assert kubectl("get", "secret", "kept", "-o", "jsonpath={.data.k}") == "dg=="
    assert int(kubectl("get", "secret", "kept", "-o", "jsonpath={.metadata.resourceVersion}")) > before
