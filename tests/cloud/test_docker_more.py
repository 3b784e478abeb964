"""Files, images made of containers, health, figures, and docker-py, against one cloud."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.cloud.docker_clients import BUSYBOX, Docker, busybox_tar, free_port
from tests.cloud.running import Cloud, program, until

pytestmark = pytest.mark.machine


def test_files_are_copied_in_and_out_and_told_as_changes(docker: Docker, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/file").write_text("from outside\n")
    docker("run", "-d", "--name", "files", BUSYBOX, "sh", "-c", "rm /etc/group; ln -s / /out; sleep 1000")
    until(lambda: "D /etc/group" in docker("diff", "files"))
    docker("cp", str(tmp_path / "in"), "files:/tmp/there")
    assert docker("exec", "files", "sh", "-c", "cat /tmp/there/file; stat -c %u /tmp/there/file") == "from outside\n0"
    docker("exec", "files", "chown", "www", "/tmp/there/file")
    docker("cp", "files:/tmp/there/file", str(tmp_path / "back"))
    assert (tmp_path / "back").read_text() == "from outside\n"
    changes = docker("diff", "files").splitlines()
    assert {"C /etc", "D /etc/group", "A /out", "C /tmp", "A /tmp/there", "A /tmp/there/file"} == set(changes)
    docker("kill", "files")
    docker.until_state("files", "exited")
    docker("cp", "files:/tmp/there/file", str(tmp_path / "later"))
    assert (tmp_path / "later").read_text() == "from outside\n"
    with tarfile.open(fileobj=io.BytesIO(docker.run("export", "files").stdout)) as tar:
        names = tar.getnames()
    assert "tmp/there/file" in names or "./tmp/there/file" in names
    docker("rm", "files")


@pytest.mark.parametrize("running", [False, True])
def test_files_are_copied_to_and_from_what_is_mounted(docker: Docker, tmp_path: Path, *, running: bool) -> None:
    """Also before the container ever ran: so people fill volumes."""
    folder, told = tmp_path / "folder", tmp_path / "told"
    folder.mkdir(0o755)
    told.write_text("hello")
    mounted = ["-v", "filled:/data", "-v", f"{folder}:/deep/folder", "-v", f"{folder}:/fixed:ro"]
    docker("create", "--name=filler", *mounted, BUSYBOX, "sleep", "1000")
    if running:
        docker("start", "filler")
    docker("cp", str(told), "filler:/data/told")
    docker("cp", str(told), "filler:/deep/folder/told")
    assert (folder / "told").read_text() == "hello"
    assert (folder / "told").stat().st_uid == 0
    assert "mounted volume is marked read-only" in docker.fails("cp", str(told), "filler:/fixed/other")
    assert docker("run", "--rm", "-v", "filled:/there", BUSYBOX, "stat", "-c", "%n %a %u", "/there", "/there/told") == (
        "/there 755 0\n/there/told 644 0"
    )
    docker("cp", "filler:/data", str(tmp_path / "out"))
    assert [(one.name, one.read_text()) for one in (tmp_path / "out").iterdir()] == [("told", "hello")]
    hosts = docker.run("cp", "filler:/etc/hosts", "-").stdout
    assert b"localhost" in hosts
    docker("rm", "-f", "filler")
    docker("volume", "rm", "filled")


def test_nothing_is_copied_to_a_root_that_is_read_only(docker: Docker, tmp_path: Path) -> None:
    (tmp_path / "told").write_text("hello")
    docker("create", "--name=fixed", "--read-only", BUSYBOX)
    assert "container rootfs is marked read-only" in docker.fails("cp", str(tmp_path / "told"), "fixed:/told")
    docker("rm", "fixed")


def test_links_of_a_guest_lead_nowhere_outside(docker: Docker, tmp_path: Path) -> None:
    outside = tmp_path / "victim"
    outside.mkdir(mode=0o777)
    (tmp_path / "evil").write_text("evil\n")
    docker(
        "run", "-d", "--name", "hostile", BUSYBOX, "sh", "-c", f"mkdir -p {tmp_path}; ln -s {outside} /trap; sleep 1000"
    )
    until(lambda: "A /trap" in docker("diff", "hostile"))
    docker.run("cp", str(tmp_path / "evil"), "hostile:/trap/", check=False)
    assert list(outside.iterdir()) == []
    docker("rm", "-f", "hostile")


def test_a_commit_is_an_image_of_what_was_written(docker: Docker) -> None:
    docker("run", "--name", "writes", BUSYBOX, "sh", "-c", "echo more > /added; rm /etc/group")
    docker("commit", "-c", 'CMD ["cat","/added"]', "writes", "made:1")
    assert docker("run", "--rm", "made:1") == "more"
    assert docker.run("run", "--rm", "made:1", "cat", "/etc/group", check=False).returncode == 1
    saved = docker.run("save", "made:1").stdout
    docker("rm", "writes")
    docker("rmi", "made:1")
    assert docker("load", stdin=saved) == "Loaded image: made:1"
    assert docker("run", "--rm", "made:1") == "more"
    docker("rmi", "made:1")


def test_health_is_looked_at_and_told(docker: Docker) -> None:
    words = ["--health-cmd", "test -e /well", "--health-interval", "100ms", "--health-retries", "2"]
    docker("run", "-d", "--name", "patient", *words, BUSYBOX, "sleep", "1000")
    until(lambda: docker.inspect("patient")["State"]["Health"]["Status"] == "unhealthy")
    docker("exec", "patient", "touch", "/well")
    until(lambda: docker.inspect("patient")["State"]["Health"]["Status"] == "healthy")
    assert "(healthy)" in docker("ps", "--filter", "name=patient")
    docker("rm", "-f", "patient")


def test_figures_and_processes(docker: Docker) -> None:
    docker("run", "-d", "--name", "busy", "-m", "64m", BUSYBOX, "sh", "-c", "while :; do :; done")
    found = json.loads(docker("stats", "--no-stream", "--format", "{{json .}}", "busy"))
    assert found["MemUsage"].endswith("/ 64MiB")
    assert float(found["CPUPerc"].rstrip("%")) > 5
    assert "while :; do :; done" in docker("top", "busy")
    assert docker("top", "busy", "-o", "pid,comm").splitlines()[1].split()[1] == "sh"
    docker("update", "--memory", "128m", "--memory-swap", "256m", "busy")
    assert docker.inspect("busy")["HostConfig"]["Memory"] == 128 << 20
    docker("pause", "busy")
    assert docker.state("busy") == "paused"
    docker("unpause", "busy")
    docker("rename", "busy", "busier")
    docker("rm", "-f", "busier")


def test_what_the_network_has_moved_is_told(docker: Docker) -> None:
    port = free_port()
    docker("run", "-d", "--name=served", "-p", f"{port}:80", BUSYBOX, "httpd", "-f", "-h", "/bin")
    fetched = docker(
        "run",
        "--rm",
        "--network=host",
        BUSYBOX,
        "sh",
        "-c",
        f"until wget -qO /tmp/got http://127.0.0.1:{port}/busybox; do sleep 0.1; done; wc -c < /tmp/got",
    )
    assert int(fetched) > 1_000_000
    sent = docker("stats", "--no-stream", "--format", "{{.NetIO}}", "served").split(" / ")[1]
    assert sent.endswith("MB"), sent
    docker("rm", "-f", "served")


def test_docker_py_drives_it(docker_py: Any) -> None:
    client = docker_py
    assert client.ping()
    assert client.containers.run(BUSYBOX, ["echo", "hello"], remove=True) == b"hello\n"
    made = client.containers.run(BUSYBOX, "sleep 1000", detach=True, name="py", labels={"driven": "by"})
    assert made.exec_run("id -u").output == b"0\n"
    assert [one.name for one in client.containers.list(filters={"label": "driven=by"})] == ["py"]
    until(lambda: made.stats(stream=False)["pids_stats"]["current"] == 1)  # what ran beside it is gone soon
    made.stop(timeout=0)
    made.reload()
    assert made.status == "exited"
    made.remove()
    with pytest.raises(Exception, match="No such container: py"):
        client.containers.get("py")


def test_power_is_given_where_it_is_asked_for_only(docker: Docker) -> None:
    script = "mount -t tmpfs none /tmp 2>/dev/null && echo mounts; ip link set lo down 2>/dev/null && echo links; true"
    assert docker("run", "--rm", BUSYBOX, "sh", "-c", script) == ""
    assert docker("run", "--rm", "--cap-add", "NET_ADMIN", BUSYBOX, "sh", "-c", script) == "links"
    assert docker("run", "--rm", "--privileged", BUSYBOX, "sh", "-c", script) == "mounts\nlinks"
    host = docker("run", "--rm", "--network", "host", BUSYBOX, "readlink", "/proc/self/ns/net")
    assert host == os.readlink("/proc/self/ns/net")


def test_a_program_that_takes_too_much_memory_is_told(docker: Docker) -> None:
    done = docker.run("run", "--name", "greedy", "-m", "8m", BUSYBOX, "tail", "/dev/zero", check=False)
    assert done.returncode == 137
    assert docker.inspect("greedy")["State"]["OOMKilled"] is True
    docker("rm", "greedy")


@pytest.mark.parametrize("packer", ["gzip", "zstd"])
def test_layers_come_compressed_in_an_index_of_several_machines(docker: Docker, packer: str) -> None:
    layer = busybox_tar()
    packed = subprocess.run([program(packer), "-c"], input=layer, capture_output=True, check=True).stdout
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:

        def blob(data: bytes) -> dict[str, object]:
            digest = hashlib.sha256(data).hexdigest()
            entry = tarfile.TarInfo(f"blobs/sha256/{digest}")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
            return {"digest": f"sha256:{digest}", "size": len(data)}

        diff = f"sha256:{hashlib.sha256(layer).hexdigest()}"
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["cat", "/etc/passwd"]},
            "rootfs": {"type": "layers", "diff_ids": [diff]},
        }
        manifest = {"schemaVersion": 2, "config": blob(json.dumps(config).encode()), "layers": [blob(packed)]}
        mine = {**blob(json.dumps(manifest).encode()), "platform": {"os": "linux", "architecture": "amd64"}}
        others = {"digest": "sha256:" + "0" * 64, "size": 1, "platform": {"os": "linux", "architecture": "s390x"}}
        inner = blob(json.dumps({"schemaVersion": 2, "manifests": [others, mine]}).encode())
        top = {**inner, "annotations": {"io.containerd.image.name": f"docker.io/library/{packer}:1"}}
        index = json.dumps({"schemaVersion": 2, "manifests": [top]}).encode()
        entry = tarfile.TarInfo("index.json")
        entry.size = len(index)
        tar.addfile(entry, io.BytesIO(index))
    assert docker("load", stdin=made.getvalue()) == f"Loaded image: {packer}:1"
    assert docker("run", "--rm", "-e", "PATH=/bin", f"{packer}:1").startswith("root:x:0:0")
    docker("rmi", f"{packer}:1")


def test_bodies_of_other_types_are_refused_and_store_nothing(docker: Docker) -> None:
    """A stored option that is a number would make `docker network ls` unreadable for good."""
    client = pytest.importorskip("docker", reason="docker-py is not installed").APIClient(base_url=docker.host)
    for path, body in (
        ("networks/create", {"Name": "odd", "IPAM": {"Options": {"a": 1}}}),
        ("containers/create", {"Image": BUSYBOX, "Env": 1}),
        ("containers/create", {"Image": BUSYBOX, "HostConfig": {"Memory": "1g"}}),
    ):
        answer = client.post(f"{client.base_url}/v1.51/{path}", json=body)
        assert answer.status_code == 400, answer.text
        assert answer.json()["message"].startswith("invalid JSON: json: cannot unmarshal "), answer.text
    client.close()
    assert docker("network", "ls", "-qf", "name=odd") == docker("ps", "-aqf", "status=created") == ""


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("containers/create", {}, 400, "config cannot be empty in order to create a container"),
        (
            "containers/create",
            {"Healthcheck": {"Test": ["CMD", "true"], "Interval": 5}},
            400,
            "Interval in Healthcheck cannot be less than 1ms",
        ),
        ("containers/create", {"HostConfig": {"Memory": -5}}, 400, "Minimum memory limit allowed is 6MB"),
        (
            "containers/create?platform=linux/s390x",
            {"Cmd": ["true"]},
            404,
            "does not match the specified platform (linux/s390x)",
        ),
        ("containers/create?platform=linux/", {"Cmd": ["true"]}, 400, "invalid component"),
        ("containers/wrong/stop?t=x", None, 400, 'strconv.Atoi: parsing "x": invalid syntax'),
        ("containers/wrong/restart?t=x", None, 400, 'strconv.Atoi: parsing "x": invalid syntax'),
        ("containers/wrong/kill?signal=SIGRTMIN%2B99", None, 400, "invalid signal: SIGRTMIN+99"),
        ("containers/wrong/checkpoints", {}, 501, "NotImplemented: checkpoints"),
        ("containers/wrong/unpause", None, 500, "is not paused"),
        (f"containers/create?name={'n' * 2000}", {"Cmd": ["true"]}, 400, "Invalid container name"),
        (
            "networks/create",
            {"Name": "odd", "IPAM": {"Config": [{"Subnet": "172.31.0.0/16"}, {"Subnet": "172.30.0.0/16"}]}},
            403,
            "bridge driver doesn't support multiple subnets",
        ),
        (
            "networks/create",
            {"Name": "odd", "IPAM": {"Config": [{"Subnet": "2001:db8::/64"}]}},
            501,
            "NotImplemented: networks with IPv6",
        ),
        (
            "networks/create",
            {"Name": "odd", "IPAM": {"Config": [{"Subnet": "172.31.0.0/16", "AuxiliaryAddresses": {"a": "10.0.0.1"}}]}},
            400,
            "invalid auxiliary address a: ",
        ),
        ("networks/create", {"Name": "x" * 2000}, 400, "invalid network name"),
        ("networks/create", {"Name": "x\0"}, 400, "invalid network name"),
        (
            "containers/wrong/update",
            {"RestartPolicy": {"Name": "always"}},
            409,
            "Restart policy cannot be updated because AutoRemove is enabled for the container",
        ),
        (
            "containers/wrong/update",
            {"Memory": 256 << 20},
            409,
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time",
        ),
        (
            "networks/create",
            {"Name": "odd", "IPAM": {"Config": [{"Subnet": "172.31.0.1/16"}]}},
            400,
            "invalid subnet 172.31.0.1/16: it should be 172.31.0.0/16",
        ),
        (f"images/{BUSYBOX}/tag?repo=sha256&tag=0cb4", None, 400, "refusing to create an ambiguous tag"),
    ],
)
def test_wrong_words_have_dockers_answers(
    docker: Docker, path: str, body: dict[str, Any] | None, status: int, said: str
) -> None:
    client = pytest.importorskip("docker", reason="docker-py is not installed").APIClient(base_url=docker.host)
    if "wrong" in path:
        docker("run", "-d", "--rm", "-m", "64m", "--memory-swap", "128m", "--name=wrong", BUSYBOX, "sleep", "1000")
    answer = client.post(f"{client.base_url}/v1.51/{path}", json=body and {"Image": BUSYBOX, **body})
    client.close()
    assert (answer.status_code, said in answer.json()["message"]) == (status, True), answer.text
    docker("rm", "-f", "wrong") if "wrong" in path else None
    assert docker("ps", "-aqf", "status=created") == ""


def test_the_platform_that_is_here_is_taken_by_any_of_its_names(docker: Docker) -> None:
    processor = docker("version", "-f", "{{.Server.Arch}}")
    for name in (f"linux/{processor}", processor, "linux"):
        assert docker("run", "--rm", "--pull=never", f"--platform={name}", BUSYBOX, "echo", name) == name


def test_what_the_engine_has_and_gureum_has_not(docker: Docker, tmp_path: Path) -> None:
    """`docker system prune` asks the builder too; swarm and plugins say that there are none."""
    (tmp_path / "Dockerfile").write_text(f"FROM {BUSYBOX}\n")
    assert "NotImplemented" in docker.fails("build", str(tmp_path))
    assert "Total reclaimed space" in docker("system", "prune", "-f")
    assert docker("plugin", "ls", "-q") == ""
    assert "This node is not a swarm manager." in docker.fails("service", "ls")
    assert "NotImplemented: swarm" in docker.fails("swarm", "init")
    docker("create", "--name", "untouched", BUSYBOX)
    assert docker("diff", "untouched") == ""
    docker("rm", "untouched")


def test_an_image_whose_configuration_no_container_can_be_made_of_is_refused(docker: Docker) -> None:
    """A container of it would wait for ever to be started."""
    layer = busybox_tar(tools="sh")
    diff = f"sha256:{hashlib.sha256(layer).hexdigest()}"
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": ["sh"], "Healthcheck": {"Test": 5}},
        "rootfs": {"type": "layers", "diff_ids": [diff]},
    }
    done = docker.run("load", stdin=_saved(layer, config), check=False)
    assert b"cannot unmarshal number into Go struct field HealthConfig.config.Healthcheck.Test" in done.stderr
    assert docker("images", "-q", "odd") == ""


def test_what_a_create_names_in_vain_does_not_send_the_client_to_a_registry(docker: Docker) -> None:
    """The command line takes every 404 of a create for an image that must be pulled."""
    for words in (("--volumes-from", "nosuch"), ("--network", "container:nosuch"), ("--ipc", "container:nosuch")):
        said = docker.fails("run", "--rm", *words, BUSYBOX, "true")
        assert "nosuch" in said
        assert "Unable to find image" not in said


def test_a_network_is_looked_for_when_a_container_starts(docker: Docker) -> None:
    """As under Docker: at the create it need not be there yet, and one that was made anew is found by its name."""
    assert "network nosuch not found" in docker.fails(
        "run", "--rm", "--name", "in-vain", "--network", "nosuch", BUSYBOX, "true"
    )
    assert docker("ps", "-aqf", "name=in-vain") == ""
    docker("create", "--name", "early", "--network", "coming", "--ip", "10.213.9.7", BUSYBOX, "sleep", "1000")
    assert "network coming not found" in docker.fails("start", "early")
    docker("network", "create", "--subnet", "10.213.8.0/24", "coming")
    assert "no configured subnet or ip range contain the IP address 10.213.9.7" in docker.fails("start", "early")
    for _ in range(2):
        docker("network", "rm", "coming")
        docker("network", "create", "--subnet", "10.213.9.0/24", "coming")
        docker("start", "early")
        assert docker.inspect("early")["NetworkSettings"]["Networks"]["coming"]["IPAddress"] == "10.213.9.7"
        docker("stop", "-t", "0", "early")
    docker("rm", "early")
    docker("network", "rm", "coming")


def test_what_fails_leaves_no_blobs(docker: Docker, cloud: Cloud) -> None:
    blobs = Path(cloud.environment["GUREUM_HOME"]) / "docker" / "blobs" / "sha256"
    docker("image", "prune", "-f")
    before = set(blobs.iterdir())
    layer = os.urandom(100_000)
    config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": []}}
    assert docker.run("load", stdin=_saved(layer, config), check=False).returncode != 0
    assert docker.run("import", "-", "odd:2", stdin=layer, check=False).returncode != 0
    assert set(blobs.iterdir()) == before


def _saved(layer: bytes, config: Any) -> bytes:
    """As `docker save` writes an image of one layer, odd:1."""
    made, manifest = io.BytesIO(), [{"Config": "c.json", "RepoTags": ["odd:1"], "Layers": ["l.tar"]}]
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, data in (("l.tar", layer), ("c.json", config), ("manifest.json", manifest)):
            content = data if isinstance(data, bytes) else json.dumps(data).encode()
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return made.getvalue()


def test_what_containers_and_volumes_take_of_the_disk_is_told(docker: Docker) -> None:
    writing = (
        "dd if=/dev/zero of=/big bs=1024 count=3000; dd if=/dev/zero of=/v/big bs=1024 count=2000; ln /v/big /v/same"
    )
    docker("run", "--name", "writer", "-v", "filled:/v", BUSYBOX, "sh", "-c", writing)
    assert docker("ps", "-as", "-f", "name=writer", "--format", "{{.Size}}").startswith("3.07MB (virtual ")
    assert "2.048MB" in docker("system", "df", "--format", "{{.Type}} {{.Size}}").partition("Local Volumes")[2]
    docker("rm", "writer")
    assert "Total reclaimed space: 2.048MB" in docker("volume", "prune", "-af")


def test_what_the_whole_takes_of_the_disk(docker: Docker, docker_py: Any) -> None:
    """Layers that several images have count once; each thing is told as its own list tells it."""
    docker(
        "run", "-d", "--name", "user", "-p", "127.0.0.1::80", "--label", "a=b", "-v", "kept:/v", BUSYBOX, "sleep", "60"
    )
    docker("exec", "user", "dd", "if=/dev/zero", "of=/more", "bs=1000", "count=3000")
    docker("commit", "user", "more:1")
    found = docker_py.df()
    mine = {tag: one for one in found["Images"] for tag in one["RepoTags"]}
    base, more = mine[BUSYBOX], mine["more:1"]
    assert base["Size"] == base["SharedSize"] == more["SharedSize"]
    assert (more["Size"] - more["SharedSize"], more["Containers"], base["Containers"]) == (3_000_000, 0, 1)
    others = [one for tag, one in mine.items() if tag not in (BUSYBOX, "more:1")]
    assert found["LayersSize"] <= more["Size"] + sum(one["Size"] for one in others)
    assert "3MB" in docker("history", "--format", "{{.Size}}", "more:1")
    (user,) = [one for one in found["Containers"] if one["Names"] == ["/user"]]
    assert user["SizeRw"] == 3_000_000
    assert (user["Labels"], user["Ports"][0]["PrivatePort"], user["State"]) == ({"a": "b"}, 80, "running")
    assert user["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
    (kept,) = [one for one in found["Volumes"] if one["Name"] == "kept"]
    assert (kept["UsageData"], kept["Scope"]) == ({"Size": 0, "RefCount": 1}, "local")
    assert docker("system", "df", "--format", "{{.Type}} {{.TotalCount}}").splitlines()[-1] == "Build Cache 0"
    verbose = json.loads(docker("system", "df", "-v", "--format", "json"))
    (line,) = [one for one in verbose["Images"] if one["Repository"] == "more"]
    assert (line["UniqueSize"], line["Containers"]) == ("3MB", "0")
    (line,) = [one for one in verbose["Containers"] if one["Names"] == "user"]
    listed = json.loads(docker("ps", "-sf", "name=user", "--format", "json"))
    assert (line["Size"], listed["Size"][:5]) == ("3MB", "3MB (")
    told = ("Command", "Image", "Labels", "LocalVolumes", "Mounts", "Names", "Networks", "Ports", "State")
    assert {key: line[key] for key in told} == {key: listed[key] for key in told}
    (line,) = [one for one in verbose["Volumes"] if one["Name"] == "kept"]
    assert (line["Links"], line["Size"]) == ("1", "0B")
    docker("rm", "-f", "user")
    docker("rmi", "more:1")
    docker("volume", "rm", "kept")


@pytest.mark.parametrize(
    ("words", "wish", "said"),
    [
        (("ps", "-a"), "nosuch=x", "invalid filter 'nosuch'"),
        (("ps", "-a"), "status=asleep", "invalid filter 'status=asleep'"),
        (("ps", "-a"), "health=fine", "invalid value for health (fine): must be one of none, starting, healthy"),
        (("ps", "-a"), "exited=x", 'strconv.Atoi: parsing "x": invalid syntax'),
        (("ps", "-a"), "is-task=x", "invalid filter 'is-task=[x]'"),
        (("ps", "-a"), "before=nosuch", "No such container: nosuch"),
        (("ps", "-a"), "publish=web", "error while looking up for publish web"),
        (("images",), "dangling=x", "invalid filter 'dangling=[x]'"),
        (("images",), "since=nosuch:1", "No such image: nosuch:1"),
        (("images",), "reference=[", "syntax error in pattern"),
        (("volume", "ls"), "dangling=x", "invalid filter 'dangling=[x]'"),
        (("volume", "ls"), "label!=x", "invalid filter 'label!'"),
        (("network", "ls"), "type=x", "invalid filter: 'type'='x'"),
        (("network", "ls"), "dangling=x", "invalid value for filter 'dangling', must be \"true\""),
        (("container", "prune", "-f"), "status=exited", "invalid filter 'status'"),
        (("container", "prune", "-f"), "until=soon", 'parsing time "soon"'),
        (("image", "prune", "-f"), "reference=x", "invalid filter 'reference'"),
        (("volume", "prune", "-f"), "all=x", 'strconv.ParseBool: parsing "x": invalid syntax'),
        (("network", "prune", "-f"), "name=x", "invalid filter 'name'"),
    ],
)
def test_filters_that_there_are_not_are_refused(docker: Docker, words: tuple[str, ...], wish: str, said: str) -> None:
    assert said in docker.fails(*words, "--filter", wish)


def test_lists_are_filtered(docker: Docker) -> None:
    docker("network", "create", "--label", "a=b", "filtered")
    docker(
        "create", "--name", "first-1", "-p", "127.0.0.1::8080/udp", "--expose", "90", "--network", "filtered", BUSYBOX
    )
    docker("create", "--name", "second-2", "-v", "filled:/v", "--label", "a=b", BUSYBOX)

    def listed(*words: str) -> list[str]:
        wishes = [part for one in words for part in ("-f", one)]
        return sorted(docker("ps", "-a", "--format", "{{.Names}}", *wishes).split())

    assert listed("name=^first-[0-9]$") == listed("network=filtered") == listed("expose=85-95") == ["first-1"]
    assert listed("publish=8080/udp") == listed("before=second-2", "name=-") == ["first-1"]
    assert listed("publish=8080") == listed("status=running") == listed("exited=0", "name=-") == []
    assert listed("volume=filled") == listed("label=a=b") == listed("since=first-1") == ["second-2"]
    assert listed(f"ancestor={BUSYBOX}", "status=created", "health=none") == ["first-1", "second-2"]
    assert docker("images", "-f", "reference=b*x", "--format", "{{.Tag}}") == "test"
    docker("tag", BUSYBOX, "other/name:also")
    assert docker("images", "-f", "reference=*/n*", "--format", "{{.Repository}}:{{.Tag}}") == "other/name:also"
    docker("rmi", "other/name:also")
    assert docker("volume", "ls", "-q", "-f", "dangling=false") == "filled"
    assert docker("network", "ls", "-f", "type=custom", "-f", "label=a=b", "--format", "{{.Name}}") == "filtered"
    docker("rm", "first-1", "second-2")
    docker("volume", "rm", "filled")
    docker("network", "rm", "filtered")


def test_images_go_out_and_come_back(docker: Docker) -> None:
    docker("tag", BUSYBOX, "out/and-back:1")
    saved = docker.run("save", "out/and-back:1").stdout
    assert "Untagged: out/and-back:1" in docker("rmi", "out/and-back:1")
    assert "Loaded image: out/and-back:1" in docker("load", stdin=saved)
    assert set(docker("images", "-q", "out/and-back").split()) == set(docker("images", "-q", BUSYBOX).split())
    assert docker("history", "-q", "out/and-back:1") == docker("images", "-q", "out/and-back").split()[0]
    docker("rmi", "out/and-back:1")


def test_an_attached_client_sends_and_hears(docker: Docker) -> None:
    docker("run", "-di", "--name", "hears", BUSYBOX, "sh", "-c", "read word; echo $word; echo wrong >&2; exit 5")
    done = docker.run("attach", "hears", stdin=b"this\n", check=False)
    assert (done.returncode, done.stdout, done.stderr) == (5, b"this\n", b"wrong\n")
    docker("rm", "hears")


def test_what_nobody_uses_is_pruned(docker: Docker) -> None:
    docker("network", "create", "--internal", "inner")
    assert docker("network", "inspect", "-f", "{{.Internal}}", "inner") == "true"
    docker("volume", "create", "loose")
    docker("create", "--name", "unused", "-v", "loose:/v", "--network", "inner", BUSYBOX)
    assert docker("volume", "prune", "-af") == "Total reclaimed space: 0B"
    said = docker("system", "prune", "-f", "--volumes", "--filter", "label!=kept")
    assert "Deleted Containers:" in said
    assert "Deleted Networks:\ninner" in said
    assert "loose" in docker("volume", "prune", "-af")


def test_the_whole_tells_of_itself(docker: Docker) -> None:
    info = json.loads(docker("info", "--format", "json"))
    assert (info["Driver"], info["OSType"], info["Swarm"]["LocalNodeState"]) == ("overlay2", "linux", "inactive")
    assert info["Containers"] == info["ContainersRunning"] + info["ContainersPaused"] + info["ContainersStopped"]
    assert "Server:\n Containers:" in docker("info")
    server = json.loads(docker("version", "--format", "json"))["Server"]
    assert (server["ApiVersion"], server["MinAPIVersion"]) == ("1.51", "1.24")
    environment = {**docker.environment, "DOCKER_API_VERSION": "1.24"}
    old = subprocess.run([docker.program, "ps", "-a"], env=environment, capture_output=True, text=True, check=True)
    assert old.stdout.startswith("CONTAINER ID")


def test_auxiliary_addresses_are_nobodys(docker: Docker) -> None:
    place = ["--subnet", "172.31.77.0/29", "--gateway", "172.31.77.1"]
    docker("network", "create", *place, "--aux-address", "printer=172.31.77.2", "kept")
    try:
        (shown,) = docker.inspect("kept")["IPAM"]["Config"]
        assert shown["AuxiliaryAddresses"] == {"printer": "172.31.77.2"}
        script = "ip -o -4 addr show eth0"
        assert "172.31.77.3/" in docker("run", "--rm", "--network", "kept", BUSYBOX, "sh", "-c", script)
        words = ["--network", "kept", "--ip", "172.31.77.2"]
        assert "Address already in use" in docker.fails("run", "--rm", *words, BUSYBOX, "true")
    finally:
        docker("network", "rm", "kept")


def test_images_tell_old_clients_of_their_container(docker: Docker, docker_py: Any) -> None:
    for version, told in (("1.44", True), ("1.45", False)):
        url = f"{docker_py.api.base_url}/v{version}/images/{BUSYBOX}/json"
        shown = docker_py.api.get(url).json()
        assert ("ContainerConfig" in shown, "Container" in shown) == (told, told)


def test_networks_of_kinds_that_are_not_built_are_refused(docker: Docker) -> None:
    for words in (("--config-only",), ("--ingress",), ("--ipv4=false",), ("--ipv6",)):
        assert "NotImplemented: " in docker.fails("network", "create", *words, "refused")
    assert "could not find plugin mine" in docker.fails("network", "create", "--ipam-driver", "mine", "refused")
    assert docker("network", "ls", "-qf", "name=refused") == ""
