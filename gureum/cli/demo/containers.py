"""The tour's part with the stock Docker command line: an image, a container with a published port, a look inside."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from gureum.cli.demo.fetching import fetch_when_up
from gureum.cli.demo.naming import NAME
from gureum.cli.demo.tour import Tour
from gureum.cli.output import Failure

_BUSYBOX = Path("/bin/busybox")
_APPLETS = ("sh", "httpd", "hostname", "cat")
_SCRIPT = "echo a page of $(hostname) > /index.html; exec httpd -f -p 80 -h /"


def containers(tour: Tour) -> None:
    """A container of an image that is made here: the tour downloads nothing."""
    tour.title("Docker: a container, and no Docker Engine")
    if not tour.has("docker"):
        tour.say("  no `docker` command here: left out (apt install docker.io brings it; its engine is not needed)")
        return
    archive = tour.folder / "image.tar"
    archive.write_bytes(_root())
    tour.run("docker", "import", str(archive), NAME)
    archive.unlink()
    publish = ("-p", "127.0.0.1::80")
    tour.run("docker", "run", "-d", "--name", NAME, *publish, "-m", "64m", NAME, "sh", "-c", _SCRIPT)
    tour.say(tour.run("docker", "ps", "--filter", f"name={NAME}"))
    address, _, port = tour.run("docker", "port", NAME, "80").partition(":")
    if address != "127.0.0.1":
        raise Failure(f"the port was published on {address}, not on 127.0.0.1")
    tour.result(f"{fetch_when_up(address, int(port))!r} from {address}:{port}")
    tour.say(tour.run("docker", "exec", NAME, "sh", "-c", "cat /proc/1/comm"))


def clear_containers(tour: Tour) -> None:
    if tour.has("docker"):
        tour.run("docker", "rm", "-f", NAME, check=False)
        tour.run("docker", "rmi", NAME, check=False)


def _root() -> bytes:
    """A root file system as `docker import` takes it."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        program = tarfile.TarInfo("bin/busybox")
        program.size, program.mode = _BUSYBOX.stat().st_size, 0o755
        with _BUSYBOX.open("rb") as content:
            archive.addfile(program, content)
        for name in _APPLETS:
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
    return written.getvalue()
