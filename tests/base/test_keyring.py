"""A ring of keys: the newest seals, all open, what is retired opens no more."""

from __future__ import annotations

import pytest

from gureum.base.keyring import Keyring, bring
from gureum.base.sealing import Sealer


def ring(folder):
    return Keyring(folder / "ring", Sealer(folder / "key"))


def test_what_an_older_key_sealed_opens_until_it_is_retired(tmp_path):
    one = ring(tmp_path)
    old = one.seal_bytes(b"secret", "here")
    assert not one.stale(old)
    one.rotate()
    new = one.seal_bytes(b"secret", "here")
    assert one.stale(old)
    assert not one.stale(new)
    again = ring(tmp_path)
    assert again.rotating
    assert [again.open_bytes(text, "here") for text in (old, new)] == [b"secret", b"secret"]
    one.retire()
    assert one.open_bytes(old, "here") == b"secret"  # what this process holds
    later = ring(tmp_path)
    assert not later.rotating
    assert later.open_bytes(new, "here") == b"secret"
    with pytest.raises(ValueError, match="which is not in"):
        later.open_bytes(old, "here")


def test_a_text_opens_in_its_place_only(tmp_path):
    one = ring(tmp_path)
    with pytest.raises(ValueError, match="another context"):
        one.open_bytes(one.seal_bytes(b"secret", "here"), "there")


def test_what_was_sealed_without_a_ring_opens_and_is_stale(tmp_path):
    old = Sealer(tmp_path / "key").seal_bytes(b"secret", "here")
    one = ring(tmp_path)
    assert one.open_bytes(old, "here") == b"secret"
    assert one.stale(old)


def test_keys_are_for_their_owner(tmp_path):
    ring(tmp_path)
    (path,) = (tmp_path / "ring").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "ring").stat().st_mode & 0o777 == 0o700


def test_a_ring_that_lies_elsewhere_is_brought_even_when_that_was_cut_off(tmp_path):
    one = ring(tmp_path)
    old = one.seal_bytes(b"secret", "here")
    one.rotate()
    new = one.seal_bytes(b"secret", "here")
    former, folder = tmp_path / "ring", tmp_path / "beside" / "kube"
    folder.mkdir(parents=True)
    first = min(former.iterdir())
    (folder / first.name).write_bytes(first.read_bytes())  # as far as it came
    (folder / "000002-00000000.new").write_bytes(b"half")
    for _ in range(2):
        bring(former, folder)
    assert not former.exists()
    again = Keyring(folder, Sealer(tmp_path / "key"))
    assert [again.open_bytes(text, "here") for text in (old, new)] == [b"secret", b"secret"]
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in folder.glob("*.key") if path.name != first.name)
