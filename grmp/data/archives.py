"""Unpack zip, tar and tgz: nothing leaves the folder, no link points out of it, the unpacked size is bounded."""

import lzma
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath, PureWindowsPath
from shutil import copyfileobj

from tqdm import tqdm

from grmp.errors import UserError

ENDINGS = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".rar", ".7z")
ENTRIES = 1_000_000  # more than any database holds


class BadArchive(Exception):
    """The archive is damaged or not safe. The message is a clause without a full stop."""


def is_archive(path: Path) -> bool:
    """Whether the name says that it is one."""
    return path.is_file() and path.name.lower().endswith(ENDINGS)


def unpack(archive: Path, folder: Path, limit: int) -> None:
    """Unpack ``archive`` into ``folder``, at most ``limit`` bytes.

    Raises
    ------
    BadArchive
        If it is damaged, would write outside ``folder``, holds a link out of it, or unpacks to more than ``limit`` bytes.
    UserError
        If the format cannot be unpacked here, or the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if zipfile.is_zipfile(archive):
            _unpack_zip(archive, folder, limit)
        elif tarfile.is_tarfile(archive):
            _unpack_tar(archive, folder, limit)
        else:
            raise _unknown(archive)
    except tarfile.FilterError as error:
        raise BadArchive(f"is not safe to unpack ({str(error)[:200]})") from None
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, NotImplementedError) as error:
        raise BadArchive(f"is damaged or cut off ({' '.join(str(error).split())[:200]})") from None
    except OSError as error:
        if error.errno is None:  # gzip and bz2 report damaged data as a bare OSError
            raise BadArchive(f"is damaged ({error})") from None
        raise UserError(f"cannot unpack {archive} into {folder}: {error.strerror}; free some space") from None


def _unknown(archive: Path) -> Exception:
    with archive.open("rb") as file:
        start = file.read(512)
    if start[:4] == b"Rar!" or archive.suffix.lower() in (".rar", ".7z"):
        return UserError(
            f"{archive} cannot be unpacked from Python; unpack it yourself and give the folder with --from"
        )
    if start.lstrip()[:1] == b"<":
        return BadArchive("is a web page, not an archive")
    return BadArchive("is not a whole zip or tar archive")


def _refuse(entries: int, size: int, limit: int) -> None:
    if size > limit or entries > ENTRIES:
        raise BadArchive(
            f"unpacks to more than {min(size, limit):,} bytes or {ENTRIES:,} entries; that is no copy of it"
        )


def _unpack_zip(archive: Path, folder: Path, limit: int) -> None:
    with zipfile.ZipFile(archive) as source:
        members = source.infolist()
        _refuse(len(members), sum(m.file_size for m in members), limit)  # zipfile reads no more than file_size
        for member in tqdm(members, desc=f"unpack {archive.name}", unit="file", disable=None):
            name = PurePosixPath(member.filename)
            outside = name.is_absolute() or ".." in name.parts or PureWindowsPath(member.filename).drive
            if outside or "\\" in member.filename:
                raise BadArchive(f"is not safe to unpack ('{member.filename}' would leave the folder)")
            if stat.S_ISLNK(member.external_attr >> 16):
                raise BadArchive(f"is not safe to unpack ('{member.filename}' is a link)")
            target = folder / name
            if member.is_dir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with source.open(member) as inside, target.open("wb") as out:
                copyfileobj(inside, out, 1 << 20)


def _unpack_tar(archive: Path, folder: Path, limit: int) -> None:
    size = 0
    with (
        tarfile.open(archive) as source,
        tqdm(desc=f"unpack {archive.name}", unit="file", disable=None) as bar,
    ):
        for entries, member in enumerate(source):
            size += member.size
            _refuse(entries, size, limit)
            if member.name.startswith(("/", "\\")):
                raise BadArchive(f"is not safe to unpack ('{member.name}' would leave the folder)")
            if member.isreg() or member.isdir() or member.issym() or member.islnk():
                source.extract(member, folder, filter="data")
            else:
                raise BadArchive(f"is not safe to unpack ('{member.name}' is neither file, folder nor link)")
            bar.update()
