"""Images that come from elsewhere: a registry, a bucket, the imports folder, a snapshot; and what is refused of them."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from gureum.drivers.images.image_sources import ARCHITECTURE
from tests.cloud.running import Cloud, program, until

INIT = b"#!/bin/busybox sh\n/bin/busybox mkdir -p /www\n/bin/busybox touch /started\nexec /bin/busybox sleep 100000\n"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"


def root_file_system() -> bytes:
    """A tar with BusyBox and an init of its own."""
    busybox = Path(program("busybox")).read_bytes()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in (("bin/busybox", busybox), ("sbin/init", INIT), ("etc/mark", b"imported\n")):
            entry = tarfile.TarInfo(name)
            entry.mode, entry.size = 0o755, len(content)
            tar.addfile(entry, io.BytesIO(content))
        for applet in ("sh", "cat", "true"):
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    return out.getvalue()


class Registry(BaseHTTPRequestHandler):
    """Answers `contents`, path → (content type, body), and keeps what it was asked for in `asked`."""

    contents: dict[str, tuple[str, bytes]]
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        found = self.contents.get(self.path)
        self.send_response(200 if found else 404)
        kind, body = found or ("text/plain", b"no such thing")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None: ...


@contextlib.contextmanager
def serving(contents: dict[str, tuple[str, bytes]]) -> Iterator[tuple[str, list[str]]]:
    """A registry on loopback: (its address, what it was asked for)."""
    handler = type("Handler", (Registry,), {"contents": contents, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}", handler.asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def digest(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def image_of(tar: bytes, name: str) -> dict[str, tuple[str, bytes]]:
    """What a registry answers for an image with this one layer, behind an index of two platforms."""
    layer = gzip.compress(tar)
    config = json.dumps(
        {
            "architecture": ARCHITECTURE,
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [digest(tar)]},
        }
    ).encode()
    kinds = ("application/vnd.oci.image.config.v1+json", LAYER_TYPE)
    described = [
        {"mediaType": kind, "digest": digest(body), "size": len(body)}
        for kind, body in zip(kinds, (config, layer), strict=True)
    ]
    manifest_type = "application/vnd.oci.image.manifest.v1+json"
    manifest = json.dumps(
        {"schemaVersion": 2, "mediaType": manifest_type, "config": described[0], "layers": described[1:]}
    ).encode()
    entry = {"mediaType": manifest_type, "digest": digest(manifest), "size": len(manifest)}
    platforms = [{"architecture": "s390x", "os": "linux"}, {"architecture": ARCHITECTURE, "os": "linux"}]
    entries = [{**entry, "digest": digest(b"other"), "platform": platforms[0]}, {**entry, "platform": platforms[1]}]
    index_type = "application/vnd.oci.image.index.v1+json"
    index = json.dumps({"schemaVersion": 2, "mediaType": index_type, "manifests": entries}).encode()
    return {
        f"/v2/{name}/manifests/1.0": (index_type, index),
        f"/v2/{name}/manifests/{digest(manifest)}": (manifest_type, manifest),
        f"/v2/{name}/blobs/{digest(config)}": ("application/octet-stream", config),
        f"/v2/{name}/blobs/{digest(layer)}": ("application/octet-stream", layer),
    }


def ended(ec2: Any, task: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        (found,) = ec2.describe_import_image_tasks(ImportTaskIds=[task])["ImportImageTasks"]
        return dict(found) if found["Status"] != "active" else None

    return dict(until(look))


def imported(ec2: Any, **container: Any) -> dict[str, Any]:
    return ended(ec2, ec2.import_image(DiskContainers=[container])["ImportTaskId"])


def check_starts(cloud: Cloud, ec2: Any, image: str) -> None:
    (made,) = cloud.launch(ec2, ImageId=image, UserData="")
    assert until(lambda: cloud.inside(made["InstanceId"], "cat", "/etc/mark").stdout) == "imported\n"
    ec2.terminate_instances(InstanceIds=[made["InstanceId"]])


def left(cloud: Cloud) -> list[str]:
    return [path.name for path in (cloud.home / "imports").glob(".import*")]


def test_an_image_of_a_registry_starts(cloud: Cloud, ec2: Any) -> None:
    with serving(image_of(root_file_system(), "team/web")) as (address, asked):
        task = imported(ec2, Url=f"oci://{address}/team/web:1.0")
        assert (task["Status"], task["Platform"], len(asked)) == ("completed", "Linux", 4)
    (image,) = ec2.describe_images(ImageIds=[task["ImageId"]])["Images"]
    assert (image["Name"], image["State"]) == (task["ImportTaskId"], "available")
    check_starts(cloud, ec2, task["ImageId"])
    until(lambda: not left(cloud))


def test_a_tar_in_a_bucket_becomes_an_image(cloud: Cloud, ec2: Any) -> None:
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket="machines")
    s3.put_object(Bucket="machines", Key="images/root.tar", Body=root_file_system())
    task = imported(ec2, UserBucket={"S3Bucket": "machines", "S3Key": "images/root.tar"})
    assert task["Status"] == "completed", task["StatusMessage"]
    check_starts(cloud, ec2, task["ImageId"])
    missing = imported(ec2, Url="s3://machines/none.tar")
    assert (missing["Status"], "NoSuchKey" in missing["StatusMessage"]) == ("deleted", True)
    until(lambda: not left(cloud))


def test_an_image_is_stored_in_a_bucket_and_comes_back_from_there(cloud: Cloud, ec2: Any) -> None:
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket="vault")
    disk = {"DeviceName": "/dev/sdb", "Ebs": {"VolumeSize": 1, "DeleteOnTermination": True}}
    (made,) = cloud.launch(ec2, UserData="", BlockDeviceMappings=[disk])
    write = (
        "echo kept > /precious; head -c 3000000 /dev/urandom > /volumes/sdb/noise; sha256sum < /volumes/sdb/noise; sync"
    )
    digest_of = cloud.inside(made["InstanceId"], "sh", "-c", write).stdout
    image = ec2.create_image(InstanceId=made["InstanceId"], Name="precious", NoReboot=True)["ImageId"]
    until_available(ec2, image)
    tags = [{"Key": "of", "Value": "a + b"}]
    key = ec2.create_store_image_task(ImageId=image, Bucket="vault", S3ObjectTags=tags)["ObjectKey"]
    assert key == f"{image}.bin"
    task = until(lambda: stored(ec2, image))
    assert (task["StoreTaskState"], task["Bucket"], task["S3objectKey"]) == ("Completed", "vault", key), task.get(
        "StoreTaskFailureReason"
    )
    assert s3.get_object_tagging(Bucket="vault", Key=key)["TagSet"] == tags
    ec2.terminate_instances(InstanceIds=[made["InstanceId"]])
    ec2.deregister_image(ImageId=image, DeleteAssociatedSnapshots=True)

    back = ec2.create_restore_image_task(Bucket="vault", ObjectKey=key)["ImageId"]
    until_available(ec2, back)
    (shown,) = ec2.describe_images(ImageIds=[back])["Images"]
    assert (shown["Name"], len(shown["BlockDeviceMappings"])) == ("precious", 2)
    (again,) = cloud.launch(ec2, ImageId=back, UserData="")
    read = "cat /precious; sha256sum < /volumes/sdb/noise"
    assert until(lambda: cloud.inside(again["InstanceId"], "sh", "-c", read).stdout) == f"kept\n{digest_of}"
    ec2.terminate_instances(InstanceIds=[again["InstanceId"]])
    assert list((cloud.home / "image-objects").iterdir()) == []

    content = s3.get_object(Bucket="vault", Key=key)["Body"].read()
    for name, spoiled in (("changed", content[:-9] + b"\0" + content[-8:]), ("other", b"no image")):
        s3.put_object(Bucket="vault", Key=name, Body=spoiled)
        failed = ec2.create_restore_image_task(Bucket="vault", ObjectKey=name, Name=f"{name} one")["ImageId"]
        until(lambda failed=failed: ec2.describe_images(ImageIds=[failed])["Images"][0]["State"] == "failed")
    with pytest.raises(ClientError, match="NoSuchKey"):
        ec2.create_restore_image_task(Bucket="vault", ObjectKey="none", Name="none")
    with pytest.raises(ClientError, match="NoSuchBucket"):
        ec2.create_store_image_task(ImageId=back, Bucket="none-such")


def until_available(ec2: Any, image: str) -> None:
    until(lambda: ec2.describe_images(ImageIds=[image])["Images"][0]["State"] == "available")


def stored(ec2: Any, image: str) -> dict[str, Any] | None:
    (found,) = ec2.describe_store_image_tasks(ImageIds=[image])["StoreImageTaskResults"]
    return dict(found) if found["StoreTaskState"] != "InProgress" else None


@pytest.mark.parametrize("spoil", ["blob", "manifest", "platform", "size"])
def test_what_a_registry_makes_up_is_not_believed(cloud: Cloud, ec2: Any, spoil: str) -> None:
    contents = image_of(root_file_system(), "web")
    index, manifest, _, layer = contents
    if spoil == "blob":
        contents[layer] = (contents[layer][0], contents[layer][1] + b"x")
    elif spoil == "manifest":
        contents[manifest] = (contents[manifest][0], contents[manifest][1] + b" ")
    elif spoil == "platform":
        contents[index] = (contents[index][0], contents[index][1].replace(ARCHITECTURE.encode(), b"mips"))
    else:
        contents[manifest] = (contents[manifest][0], b"[" * (5 << 20))
    with serving(contents) as (address, _):
        task = imported(ec2, Url=f"oci://{address}/web:1.0")
    assert task["Status"] == "deleted"
    assert task["StatusMessage"].startswith("ClientError: ")
    assert "ImageId" not in task
    until(lambda: not left(cloud))


def test_a_registry_elsewhere_and_disk_images_are_refused(ec2: Any) -> None:
    for url in ("oci://registry.example.org/web:1.0", "oci://192.0.2.1:5000/web:1.0", "oci://127.0.0.1:5000/../x"):
        with pytest.raises(ClientError, match="InvalidParameterValue"):
            ec2.import_image(DiskContainers=[{"Url": url}])
    with pytest.raises(ClientError, match="NotImplemented"):
        ec2.import_image(DiskContainers=[{"Format": "VMDK", "Url": "s3://machines/disk.vmdk"}])
    gone = imported(ec2, Url="oci://127.0.0.1:1/web:1.0")
    assert (gone["Status"], gone["StatusMessage"]) == ("deleted", "ClientError: the registry does not answer")
