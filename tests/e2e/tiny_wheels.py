"""Wheels of a few lines, so that images can be built for real without an index."""

import base64
import hashlib
import zipfile
from pathlib import Path


def write_wheel(folder: Path, name: str, version: str, files: dict[str, str], scripts: dict[str, str]) -> Path:
    """A wheel of pure Python; `scripts` are commands by the function that each calls."""
    info = f"{name}-{version}.dist-info"
    entries = "".join(f"{command} = {function}\n" for command, function in scripts.items())
    whole = files | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{entries}",
    }
    record = ""
    for path, text in whole.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(text.encode())}\n"
    whole[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n"
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in whole.items():
            # Always of one date, so that the same text is the same wheel, and a build's cache knows it.
            archive.writestr(zipfile.ZipInfo(path), text)
    return wheel


def pin(wheel: Path) -> str:
    """The line of a lock for a wheel."""
    name, version = wheel.name.split("-")[:2]
    return f"{name}=={version} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"
