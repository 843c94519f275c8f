"""Read a file that the user names, and say what is wrong with the name or the file where it cannot be read."""

import stat
from pathlib import Path

from llenergymeasure.config.origin import nearest_entry, one_line
from llenergymeasure.errors import RequestError

_MIB = 2**20


def read_file(path: Path, largest_mib: int, remedy: str) -> bytes:
    """The bytes of an ordinary file.

    Args:
        path: of the file; pipes and devices are refused, since they may never end and are read more than once.
        largest_mib: refuse a larger file.
        remedy: what to do where the file is missing and no other has a similar name.

    Raises:
        RequestError: there is no such file, or it cannot be read.
    """
    shown = one_line(path)
    try:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            raise RequestError(f"{shown}: is a folder", "name a file in it")
        if not stat.S_ISREG(found.st_mode):
            raise RequestError(f"{shown}: is no ordinary file", "name a file; a pipe or device cannot be read twice")
        if found.st_size > largest_mib * _MIB:
            raise RequestError(
                f"{shown}: has {found.st_size / _MIB:.0f} MiB, and at most {largest_mib} are read", "make it smaller"
            )
        return path.read_bytes()
    except FileNotFoundError:
        raise RequestError(*_missing(path, remedy)) from None
    except OSError as error:
        raise RequestError(
            f"{shown}: cannot be read ({error.strerror})", "check the path and its permissions"
        ) from None
    except ValueError:
        raise RequestError(f"{shown}: a path cannot hold a NUL byte", "give the file's real name") from None


def decoded(path: Path, data: bytes) -> str:
    """The text of a UTF-8 file, without the byte order mark that some editors begin it with.

    Raises:
        RequestError: it is not UTF-8; names offset and line.
    """
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        likely = "UTF-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "WINDOWS-1252"
        raise RequestError(
            f"{one_line(path)}:{line}: not UTF-8: byte 0x{data[error.start]:02x} at offset {error.start}",
            f"save it as UTF-8, for example `iconv -f {likely} -t UTF-8 {one_line(path)}`",
        ) from None


def _missing(path: Path, remedy: str) -> tuple[str, str]:
    shown = one_line(path)
    if path.is_symlink():
        return f"{shown}: is a link to {one_line(path.readlink())}, which is not there", "mend the link"
    if path.parts[:1] == ("~",):
        return f"{shown}: no such file", "only a shell reads ~ as your home folder, and only unquoted: write it out"
    if not path.parent.is_dir():
        return f"{shown}: no such file", f"there is no folder {one_line(path.parent)} either; check the path"
    near = nearest_entry(path)
    return f"{shown}: no such file", f"did you mean {one_line(near)}?" if near else remedy
