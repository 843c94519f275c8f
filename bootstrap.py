"""One command for a machine that has nothing but Python 3.11 or newer: `python3 bootstrap.py main`, or any session.

It makes `.venv` in the checkout with nox in it and hands over to nox; the system's own Python stays as it is.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

# Before anything below that an older Python refuses; the syntax of this file is one that it still reads.
if sys.version_info < (3, 11):  # noqa: UP036 - this is the program that tells
    sys.stderr.write(
        f"Python {sys.version_info[0]}.{sys.version_info[1]} is too old: llenergymeasure needs 3.11 or newer\n"
    )
    sys.stderr.write("start this with a newer one, such as `python3.11 bootstrap.py main`\n")
    sys.exit(3)

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts" if os.name == "nt" else "bin") / "python"
NOX = "nox>=2025.2.9"
PIP_INSIDE = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]


class CannotError(Exception):
    """The machine lacks something: one line of cause, one of remedy."""


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: python3 bootstrap.py SESSION... [nox options]\n")
        print(
            "  main   audits, every pinned cell that runs on a CPU, the compatibility matrix, the quickstart experiment"
        )
        print("         (installs about 10 GB into build/, takes about 29 minutes)")
        print("  tests  the unit tests (for each Python here, 3.11 to 3.13, about 120 MB in .nox/ and 3 minutes)")
        print("  -l     lists every session")
        return 0
    try:
        make_venv()
    except CannotError as error:
        print(error, file=sys.stderr)
        return 3
    except subprocess.CalledProcessError as error:
        print(f"{error.cmd[0]} failed with exit code {error.returncode}; what it said stands above", file=sys.stderr)
        print(f"mend that, or remove {VENV} and start again", file=sys.stderr)
        return 3
    options = arguments if arguments[0].startswith("-") else ["-s", *arguments]
    # Sessions look for Pythons on PATH; this one must be among them.
    environment = {**os.environ, "PATH": os.pathsep.join([str(PYTHON.parent), os.environ.get("PATH", os.defpath)])}
    sys.stdout.flush()
    command = [str(PYTHON), "-m", "nox", "--noxfile", str(ROOT / "noxfile.py"), *options]
    if os.name == "posix":
        # nox in this process's place: Ctrl-C and the exit code are then nox's own.
        os.chdir(ROOT)
        os.execve(command[0], command, environment)  # noqa: S606 - no shell is wanted
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def make_venv() -> None:
    """`.venv` with nox in it, by the first way that this machine has."""
    if answers("import nox, sys; sys.exit(sys.version_info < (3, 11))"):
        return
    print(f"installing nox into {VENV} (about 30 MB, half a minute)")
    sys.stdout.flush()
    if answers("import pip, sys; sys.exit(sys.version_info < (3, 11))"):
        run([*PIP_INSIDE, NOX])
        return
    remove_broken_venv()
    if importlib.util.find_spec("ensurepip") is None and not by_other_tool():
        install_ensurepip()
    if not VENV.exists():
        run([sys.executable, "-m", "venv", str(VENV)])
        run([*PIP_INSIDE, NOX])


def answers(code: str) -> bool:
    """Whether the environment's Python is there and the code ends well in it."""
    return (
        PYTHON.exists() and subprocess.run([str(PYTHON), "-c", code], capture_output=True, check=False).returncode == 0
    )


def remove_broken_venv() -> None:
    """What an interrupted start or another Python left; never a folder that is something else."""
    if not VENV.exists():
        return
    if not (VENV / "pyvenv.cfg").exists() and any(VENV.iterdir()):
        raise CannotError(f"{VENV} is there and is no virtual environment\nmove it away")
    shutil.rmtree(VENV)


def by_other_tool() -> bool:
    """Where Python comes without ensurepip, as Debian's does: whatever else can fill an environment."""
    virtualenv, uv = shutil.which("virtualenv"), shutil.which("uv")
    if virtualenv:
        print("ensurepip is missing here; using virtualenv")
        run([virtualenv, "--quiet", "--python", sys.executable, str(VENV)])
        run([*PIP_INSIDE, NOX])
    elif uv:
        print("ensurepip is missing here; using uv")
        run([uv, "venv", "--quiet", "--python", sys.executable, str(VENV)])
        run([uv, "pip", "install", "--quiet", "--python", str(PYTHON), NOX])
    elif importlib.util.find_spec("pip") is not None:
        print("ensurepip is missing here; using the system's pip for the environment in this folder")
        run([sys.executable, "-m", "venv", "--without-pip", str(VENV)])
        run([sys.executable, "-m", "pip", "--python", str(PYTHON), *PIP_INSIDE[3:], NOX])
    else:
        return False
    return True


def install_ensurepip() -> None:
    package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
    apt = shutil.which("apt-get")
    if apt is None or os.name != "posix" or os.geteuid() != 0:
        how = f"`sudo apt install {package}`" if apt else "it with the system's package manager, or virtualenv or uv"
        raise CannotError(
            f"this Python ({sys.executable}) lacks ensurepip, so no environment can be made\ninstall {how}"
        )
    print(f"ensurepip is missing here and this is root: installing Debian's {package} (about 10 MB)")
    sys.stdout.flush()
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run([apt, "update", "-qq"], environment)
    run([apt, "install", "-y", "-qq", "--no-install-recommends", package], environment)


def run(command: list[str], environment: dict[str, str] | None = None) -> None:
    subprocess.run(command, check=True, env=environment)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
