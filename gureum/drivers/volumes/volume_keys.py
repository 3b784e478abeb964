"""Encrypted volumes: the kernel's own encryption of ext4 (fscrypt), with a key of the volume's own.

    <data_dir>/volumes/NAME.key     the volume's data key, sealed by the home's key; gone with the volume

What a guest writes lies in two folders of the volume's file system (overlay.UPPER and WORK); both have a policy from before the first byte: contents
are AES-256-XTS, names AES-256-CTS. The kernel has the key as long as the file system is mounted, and nobody else: a key file opens only with the
home's key. Sizes, owners and the shape of the tree are not hidden. Snapshots hold what lies on the disk, and are of use with the same key only.

All functions block (worker threads only). Source: Documentation/filesystems/fscrypt.rst, linux/fscrypt.h.
"""

from __future__ import annotations

import base64
import binascii
import errno
import fcntl
import os
import struct
from pathlib import Path

from gureum.drivers.keys.late_sealer import LateSealer
from gureum.drivers.volumes import overlay, volume_files
from gureum.ports import PortError

FEATURE = Path("/sys/fs/ext4/features/encryption")
_ADD_KEY, _SET_POLICY = 0xC0506617, 0x800C6613
# struct fscrypt_add_key_arg: key specifier (type, reserved, 32 bytes of identifier), size, key id, 8 reserved words, then the key.
_KEY = struct.Struct("=II32sII32s")
_BY_IDENTIFIER, _IDENTIFIER_AT, _IDENTIFIER_BYTES = 2, 8, 16
# struct fscrypt_policy_v2: version, modes of contents (AES-256-XTS) and of names (AES-256-CTS), flags (names padded to 32 bytes), 4 reserved, key.
_POLICY = struct.Struct("=BBBB4s16s")
_XTS, _CTS, _PAD_32 = 1, 4, 3
KEY_BYTES = 64


class VolumeKeys:
    """`folder`: where the volumes lie. `sealer` opens keys as base/disk_keys.py seals them."""

    def __init__(self, folder: Path, sealer: LateSealer) -> None:
        self._folder = folder
        self._sealer = sealer

    def keep(self, volume: str, sealed: str) -> None:
        """From now on the volume is one with this key. Idempotent."""
        path = self._file(volume)
        if path.exists() and path.read_text() == sealed:
            return
        if not FEATURE.exists():
            raise PortError("this kernel cannot encrypt ext4 (CONFIG_FS_ENCRYPTION)", retry=False)
        draft = path.with_name(f"{path.name}.draft")
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w") as file:
            file.write(sealed)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)

    def forget(self, volume: str) -> None:
        self._file(volume).unlink(missing_ok=True)

    def prepare(self, volume: str, image: Path) -> None:
        """Before an encrypted volume is mounted."""
        if self._file(volume).exists():
            allow(image)

    def unlock(self, volume: str, mounted: Path) -> None:
        """Of a mounted volume: the kernel gets its key, and its folders have their policy, or PortError."""
        path = self._file(volume)
        if path.exists():
            self.unlock_with(path.read_text(), mounted)

    def unlock_with(self, sealed: str, mounted: Path) -> None:
        identifier = _add_key(mounted, self._open(sealed))
        for name in (overlay.UPPER, overlay.WORK):
            folder = mounted / name
            folder.mkdir(mode=0o755, exist_ok=True)
            _set_policy(folder, identifier)

    def _open(self, sealed: str) -> bytes:
        name, _, text = sealed.partition(":")
        try:
            key = base64.b64decode(self._sealer.open(text, f"disk-key/{name}"), validate=True)
        except (ValueError, binascii.Error) as error:
            raise PortError("the key of a volume does not open with the key of this home", retry=False) from error
        if len(key) != KEY_BYTES:
            raise PortError("the key of a volume has the wrong size", retry=False)
        return key

    def _file(self, volume: str) -> Path:
        return self._folder / f"{volume}.key"


def allow(image: Path) -> None:
    """The file system in `image`, which is not mounted, may have encrypted folders. Idempotent."""
    if not volume_files.may_encrypt(image):
        volume_files.let_encrypt(image)


def _add_key(mounted: Path, key: bytes) -> bytes:
    """The identifier that the kernel gives the key; adding it again is success."""
    argument = bytearray(_KEY.pack(_BY_IDENTIFIER, 0, b"", len(key), 0, b"") + key)
    fd = os.open(mounted, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, _ADD_KEY, argument, True)
    finally:
        os.close(fd)
    return bytes(argument[_IDENTIFIER_AT : _IDENTIFIER_AT + _IDENTIFIER_BYTES])


def _set_policy(folder: Path, identifier: bytes) -> None:
    """Success when it has this policy already. The kernel gives none to a folder that holds something."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, _SET_POLICY, bytearray(_POLICY.pack(2, _XTS, _CTS, _PAD_32, b"", identifier)))
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
            raise PortError("the volume was encrypted with another key, or not at all", retry=False) from error
        raise
    finally:
        os.close(fd)
