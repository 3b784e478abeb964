"""Homes: what a gureum picks for itself, and what it must not take."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from gureum.base import homes
from gureum.base.homes import (
    Claim,
    Home,
    HomeError,
    alive,
    claims,
    former_kube_seals,
    free_port,
    kube_seals,
    load_home,
    open_home,
    release_pool,
)
from gureum.base.settings import Settings


@pytest.fixture(autouse=True)
def run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A machine of the test's own: claims and run folders lie here instead of in /run."""
    folder = Path(f"/tmp/gm-run-{os.getpid()}")
    shutil.rmtree(folder, ignore_errors=True)
    monkeypatch.setattr(homes, "SYSTEM_RUN", folder)
    monkeypatch.setattr(homes, "run_root", lambda _: folder)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def real(path: Path, **changed: object) -> Settings:
    return Settings(home=str(path), **changed)  # type: ignore[arg-type]


def test_home_remembers_what_was_picked(tmp_path: Path) -> None:
    settings = real(tmp_path / "a")
    first = open_home(settings)
    assert open_home(settings) == first == load_home(settings)
    assert first.aws_port != first.dns_port
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700
    assert first.run.stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "a" / "identity.json").stat().st_mode & 0o777 == 0o600


def test_homes_have_pools_of_their_own_until_there_are_no_more(tmp_path: Path) -> None:
    opened = [open_home(real(tmp_path / str(number))) for number in range(homes.POOL_COUNT)]
    assert len({home.pool for home in opened}) == len({home.id for home in opened}) == homes.POOL_COUNT == 32
    with pytest.raises(HomeError, match="all 32 pools"):
        open_home(real(tmp_path / "one more"))
    shutil.rmtree(opened[7].path)
    assert open_home(real(tmp_path / "one more")).pool == opened[7].pool


def test_purged_home_gives_its_pool_back(tmp_path: Path) -> None:
    home = open_home(real(tmp_path / "a"))
    release_pool(home.id)
    release_pool(home.id)
    assert claims() == {}


def test_pool_is_claimed_again_after_a_reboot_or_refused_when_taken(tmp_path: Path, run_folder: Path) -> None:
    first = open_home(real(tmp_path / "a"))
    shutil.rmtree(run_folder)
    assert open_home(real(tmp_path / "a")).pool == first.pool
    shutil.rmtree(run_folder)
    other = open_home(real(tmp_path / "b", pool=first.pool))
    assert other.pool == first.pool
    with pytest.raises(HomeError, match=f"in use by {other.path}"):
        open_home(real(tmp_path / "a"))


@pytest.mark.parametrize("pool", ["10.0.0.0/20", "198.18.0.0/16", "198.18.1.0/20", "nonsense"])
def test_pool_outside_the_share_is_refused(tmp_path: Path, pool: str) -> None:
    with pytest.raises(HomeError, match="pool"):
        open_home(real(tmp_path / "a", pool=pool))


def test_simulated_home_claims_nothing_and_stays_simulated(tmp_path: Path) -> None:
    open_home(real(tmp_path / "a", simulate=True))
    assert claims() == {}
    with pytest.raises(HomeError, match="simulated"):
        open_home(real(tmp_path / "a"))


def test_copied_home_is_refused(tmp_path: Path) -> None:
    open_home(real(tmp_path / "a"))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    for use in (open_home, load_home):  # what runs is the first one's, which a command for the copy must not stop
        with pytest.raises(HomeError, match="is a copy of"):
            use(real(tmp_path / "b"))


def test_copy_becomes_a_home_of_its_own_as_the_refusal_says(tmp_path: Path) -> None:
    first = open_home(real(tmp_path / "a"))
    (first.path / "store.db").touch()  # the daemon's
    (first.path / "volumes").mkdir()
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    (tmp_path / "b" / "identity.json").unlink()
    second = open_home(real(tmp_path / "b"))
    assert (second.id, second.pool) != (first.id, first.pool)
    assert load_home(real(tmp_path / "b")) == second


def test_home_by_another_path_is_no_copy(tmp_path: Path) -> None:
    first = open_home(real(tmp_path / "a"))
    (tmp_path / "link").symlink_to("a")
    again = open_home(real(tmp_path / "link"))
    assert (again.id, again.pool) == (first.id, first.pool)
    assert load_home(real(tmp_path / "a")) == first


def test_moved_home_goes_on(tmp_path: Path) -> None:
    first = open_home(real(tmp_path / "a"))
    (tmp_path / "a").rename(tmp_path / "b")
    moved = open_home(real(tmp_path / "b"))
    assert (moved.id, moved.pool) == (first.id, first.pool)
    assert alive(claims()[moved.pool])


def test_folder_of_somebody_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "letters").mkdir()
    with pytest.raises(HomeError, match="other things"):
        open_home(real(tmp_path))
    assert tmp_path.stat().st_mode & 0o777 == 0o755


def test_folder_with_only_settings_is_a_home(tmp_path: Path) -> None:
    (tmp_path / "gureum.toml").touch()
    assert open_home(real(tmp_path)).id


def test_home_of_a_newer_gureum_is_refused(tmp_path: Path) -> None:
    home = open_home(real(tmp_path / "a"))
    file = home.path / "identity.json"
    file.write_text(file.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(HomeError, match="newer"):
        open_home(real(tmp_path / "a"))


def test_a_damaged_home_keeps_its_addresses_and_stops_nobody_else(tmp_path: Path) -> None:
    damaged = open_home(real(tmp_path / "damaged"))
    (damaged.path / "identity.json").write_text('{"id":')
    assert alive(claims()[damaged.pool])
    with pytest.raises(HomeError, match="in use by"):
        open_home(real(tmp_path / "other", pool=damaged.pool))
    assert open_home(real(tmp_path / "other")).pool != damaged.pool


def test_damaged_identity_is_told(tmp_path: Path) -> None:
    home = open_home(real(tmp_path / "a"))
    (home.path / "identity.json").write_text("{")
    with pytest.raises(HomeError, match="damaged"):
        load_home(real(tmp_path / "a"))


def test_taken_port_is_replaced_unless_it_is_set(tmp_path: Path) -> None:
    home = open_home(real(tmp_path / "a"))
    with socket.create_server(("127.0.0.1", home.aws_port)):
        assert open_home(real(tmp_path / "a")).aws_port != home.aws_port
        assert open_home(real(tmp_path / "a", aws_port=home.aws_port)).aws_port == home.aws_port


def test_running_home_is_not_changed(tmp_path: Path) -> None:
    home = open_home(real(tmp_path / "a"))
    holder = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", holder, str(home.run / "supervisor.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        with socket.create_server(("127.0.0.1", home.aws_port)):
            assert open_home(real(tmp_path / "a")) == home
        process.communicate()


def test_default_home_has_the_well_known_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gureum.base.settings.SYSTEM_HOME", str(tmp_path / "a"))
    assert open_home(real(tmp_path / "a")).aws_port == 4566


def test_claim_that_makes_no_sense_is_no_claim(run_folder: Path) -> None:
    (run_folder / "pools").mkdir(parents=True)
    (run_folder / "pools" / "198.18.0.0.json").write_text("?")
    assert claims() == {}
    assert not alive(Claim("zzzzz", "/nowhere"))


def test_endpoint_is_an_address_that_clients_can_use() -> None:
    home = Home("abcde", Path("/h"), Path("/r"), "198.18.0.0/20", "0.0.0.0", 4566, 53, simulate=False)
    assert home.endpoint == "http://127.0.0.1:4566"


def test_keys_of_secrets_lie_outside_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = real(tmp_path / "a")
    home = open_home(settings)
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert kube_seals(settings, home) == tmp_path / "a-keys" / "kube"
    by_link = msgspec.structs.replace(home, path=tmp_path / "link")
    assert kube_seals(settings, by_link) == tmp_path / "a-keys" / "kube"
    assert former_kube_seals(settings, home) == [tmp_path / "a" / "keys" / "kube"]
    chosen = real(tmp_path / "a", kube_keys="/elsewhere")
    assert kube_seals(chosen, home) == Path("/elsewhere") / home.id
    assert former_kube_seals(chosen, home) == [tmp_path / "a" / "keys" / "kube", tmp_path / "a-keys" / "kube"]
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setenv("XDG_CONFIG_HOME", "/config")
    assert kube_seals(settings, home) == Path("/config/gureum/keys") / home.id


def test_an_address_that_is_not_this_hosts_is_named() -> None:
    with pytest.raises(HomeError, match=r"192\.0\.2\.1 is no address of this host"):
        free_port("192.0.2.1", set())
