"""Unpacking what data sets are published in: .zip and .tar, and the archives inside them, one level deep."""

from __future__ import annotations

import hashlib
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO

from gkc.data.spec import Archive
from gkc.errors import DataError
from gkc.media import write_atomically

_ZIP = (".zip",)
_TAR = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_FOREIGN = {".rar": "unrar x", ".7z": "7z x"}
"""What the standard library cannot unpack, and the command that can."""

_CHUNK = 1 << 20
_JUNK = frozenset({"__MACOSX", ".DS_Store", "Thumbs.db"})

_FAULTS = (
    EOFError, OSError, RuntimeError, ValueError, NotImplementedError, zlib.error, lzma.LZMAError, tarfile.TarError,
    zipfile.BadZipFile,
)  # fmt: skip  # all that the two libraries raise on damaged or encrypted archives

Progress = Callable[[int, int], None]
"""Called with what is done and what there is in all."""


def is_archive(path: Path) -> bool:
    """Whether a file's name is that of an archive, of a kind that can be unpacked here or not."""
    return path.name.lower().endswith((*_ZIP, *_TAR, *_FOREIGN))


def checksum(path: Path, expected: Archive | None = None, *, progress: Progress | None = None) -> str:
    """The sha256 of a file, in hexadecimal; it is compared with all that is known of the published one.

    `progress` is told the megabytes that were read, and of the whole.

    Raises:
        DataError: it cannot be read, or is not the published file.
    """
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                sha256.update(chunk)
                md5.update(chunk)
                if progress is not None:
                    progress(stream.tell() // _CHUNK, size // _CHUNK)
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror}): check the path") from error
    if expected is not None:
        found = {"bytes": size, "sha256": sha256.hexdigest(), "md5": md5.hexdigest()}
        for name, value in found.items():
            published = getattr(expected, name)
            if published is not None and published != value:
                raise DataError(path, f"has {name} {value}, the published file {published}: get it again")
    return sha256.hexdigest()


def unpack(
    archive: Path, folder: Path, *, password: str | None = None, progress: Progress | None = None
) -> tuple[Path, ...]:
    """Unpack an archive into a folder, and each archive inside it beside itself.

    An inner archive whose files share no top folder gets a folder of its own name. Files that are there with the right
    size are left alone, so an interrupted run goes on where it was. Every file is written whole or not at all.

    Args:
        archive: .zip, .tar, .tar.gz, .tgz, .tar.bz2 or .tar.xz; it is only read.
        folder: is made if it is not there.
        password: of an encrypted .zip.
        progress: told the number of files done, and of all, of one archive after the other.

    Returns:
        Inner archives of a kind that cannot be unpacked here (.rar, .7z).

    Raises:
        DataError: no archive, a damaged one, a kind that cannot be read here, a wrong password, names that lead outside
            the folder, links, or more than the disk has room for.
        MediaError: a file cannot be written.
    """
    inner = [path for path in _unpack_one(archive, folder, password, progress) if is_archive(path)]
    for path in inner:
        if not _is_foreign(path):
            _unpack_one(path, _folder_of(path), password, progress)
    return tuple(path for path in inner if _is_foreign(path))


def advice_for(archive: Path) -> str:
    """What to do about an archive that cannot be unpacked here."""
    command = _FOREIGN[archive.suffix.lower()]
    return f"cannot be unpacked here: unpack it with `{command}`, then give the folder instead"


@dataclass(frozen=True, kw_only=True)
class _Member:
    """A file in an archive: its name there, its size unpacked, and how to open it."""

    name: str
    size: int
    is_link: bool
    open: Callable[[], IO[bytes]]


def _unpack_one(archive: Path, folder: Path, password: str | None, progress: Progress | None) -> list[Path]:
    """Unpack one archive; where all its files are now."""
    with _members(archive, password) as members:
        targets = [folder / _safe_name(archive, member) for member in members]
        missing = [pair for pair in zip(members, targets, strict=True) if not _is_there(pair[1], pair[0].size)]
        _check_room(archive, folder, sum(member.size for member, _ in missing))
        for done, (member, target) in enumerate(missing, start=len(members) - len(missing) + 1):
            write_atomically(target, partial(_copy, archive, member))
            if progress is not None:
                progress(done, len(members))
    return targets


def _is_foreign(path: Path) -> bool:
    return path.suffix.lower() in _FOREIGN


def _folder_of(archive: Path) -> Path:
    """Where an inner archive goes: beside itself, or into a folder of its name where it would spill files."""
    with _members(archive, None) as members:
        if len({PurePosixPath(member.name).parts[:1] for member in members}) == 1:
            return archive.parent
    lower = archive.name.lower()
    suffix = next(end for end in (*_TAR, *_ZIP) if lower.endswith(end))
    return archive.parent / archive.name[: -len(suffix)]


@contextmanager
def _members(archive: Path, password: str | None) -> Iterator[list[_Member]]:
    """The files of an archive, as long as it is open."""
    lower = archive.name.lower()
    if _is_foreign(archive):
        raise DataError(archive, advice_for(archive))
    if not lower.endswith((*_ZIP, *_TAR)):
        raise DataError(archive, f"is no archive ({', '.join((*_ZIP, *_TAR))}): give one, or a folder")
    with ExitStack() as stack:
        try:
            if lower.endswith(_ZIP):
                members = _zip_members(stack.enter_context(zipfile.ZipFile(archive)), password)
            else:
                members = _tar_members(stack.enter_context(tarfile.open(archive)))
            kept = [member for member in members if not _JUNK & set(PurePosixPath(member.name).parts)]
        except FileNotFoundError as error:
            raise DataError(archive, "is missing: check the path") from error
        except _FAULTS as error:
            raise DataError(archive, f"is damaged or cut short ({error}): get it again") from error
        yield kept


def _zip_members(opened: zipfile.ZipFile, password: str | None) -> Iterator[_Member]:
    secret = None if password is None else password.encode()
    for info in opened.infolist():
        if not info.filename.endswith("/"):  # is_dir() fails on empty names
            yield _Member(
                name=info.filename,
                size=info.file_size,
                is_link=stat.S_ISLNK(info.external_attr >> 16),
                open=partial(opened.open, info, pwd=secret),
            )


def _tar_members(opened: tarfile.TarFile) -> Iterator[_Member]:
    for info in opened.getmembers():
        if not info.isdir():
            yield _Member(name=info.name, size=info.size, is_link=not info.isfile(), open=partial(_open, opened, info))


def _open(opened: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    stream = opened.extractfile(info)
    if stream is None:
        raise tarfile.ReadError(f"{info.name} is no file")
    return stream


def _safe_name(archive: Path, member: _Member) -> PurePosixPath:
    name = PurePosixPath(member.name.replace("\\", "/"))
    if not name.parts or name.is_absolute() or ".." in name.parts or ":" in name.parts[0]:
        raise DataError(archive, f"holds {member.name!r}, which leads outside the folder: do not trust this archive")
    if member.is_link:
        raise DataError(archive, f"holds the link {member.name!r}: unpack it yourself, then give the folder instead")
    return name


def _is_there(target: Path, size: int) -> bool:
    return target.is_file() and target.stat().st_size == size


def _check_room(archive: Path, folder: Path, needed: int) -> None:
    place = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(place).free
    if needed > free:
        problem = f"unpacks to {needed / 1e9:.2f} GB more, {place} has {free / 1e9:.2f} GB free"
        raise DataError(archive, f"{problem}: free some space, or choose another disk")


def _copy(archive: Path, member: _Member, stream: BinaryIO) -> None:
    """Write a member's bytes; an error in reading is the archive's, one in writing the disk's."""
    reading = True
    try:
        with member.open() as source:
            while chunk := source.read(_CHUNK):
                reading = False
                stream.write(chunk)
                reading = True
    except _FAULTS as error:
        if not reading:
            raise
        if "password" in str(error).lower():
            raise DataError(archive, "is encrypted: give its password (--password)") from error
        problem = f"{member.name} cannot be unpacked ({error})"
        raise DataError(
            archive, f"{problem}: get the archive again, or unpack it yourself and give the folder"
        ) from error
