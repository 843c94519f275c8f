"""A cell's container image: the arguments and labels that matrix.toml gives it, and the build itself.

Everything that a Dockerfile is told comes from `arguments` and `labels`; the bake file is written from the same two.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from llenergymeasure.errors import EnvironmentLacksError, RequestError
from llenergymeasure.matrix import build_failures, builders, context, locks
from llenergymeasure.matrix.build_failures import BASE_IMAGE
from llenergymeasure.matrix.runners import base, installing
from llenergymeasure.matrix.runners.process import run_group
from llenergymeasure.matrix.spec import Cell

CA_BUNDLE = "LLEM_CA_BUNDLE"
OFFLINE = "LLEM_OFFLINE"
LABEL = "llenergymeasure"
"""What this project's own labels begin with."""
DEADLINE_S = 3600.0
# What a build takes where only the source changed, or a layer of the base is there already.
_SMALL_GB = 1.0
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")

OnLine = Callable[[str], None]


@dataclass(frozen=True)
class BuildOptions:
    """What differs from one machine to the next; none of it changes what the image is made of.

    Attributes:
        engine: docker or podman.
        base_image: takes the place of the cell's own base image, where no registry is reached.
        wheelhouse: a folder of wheels that are taken before an index is asked.
        ca_bundle: certificates for the index, given to the build as a secret and kept in no layer.
        offline: no index is asked, and the build has no network: the wheelhouse must have everything.
    """

    engine: str = "docker"
    base_image: str = ""
    wheelhouse: Path | None = None
    ca_bundle: Path | None = None
    offline: bool = False
    deadline_s: float = DEADLINE_S

    @classmethod
    def from_environment(cls, engine: str = "docker", environ: Mapping[str, str] = os.environ) -> "BuildOptions":
        """Options as LLEM_BASE_IMAGE, LLEM_WHEELHOUSE, LLEM_CA_BUNDLE and LLEM_OFFLINE give them."""
        bundle = environ.get(CA_BUNDLE)
        if bundle and not Path(bundle).is_file():
            raise RequestError(f"{CA_BUNDLE}={bundle}: no such file", "set it to a file of certificates, or unset it")
        return cls(
            engine=engine,
            base_image=environ.get(BASE_IMAGE, ""),
            wheelhouse=installing.wheelhouse(environ),
            ca_bundle=Path(bundle) if bundle else None,
            offline=environ.get(OFFLINE, "") not in ("", "0"),
        )


@dataclass(frozen=True)
class Image:
    """An image that was built.

    Attributes:
        reference: its name; a later build of the same cell takes it over.
        image_id: what it is, whatever it is called.
        base: the base image as it was asked for.
        base_resolved: whether a digest says which image that is.
    """

    reference: str
    image_id: str
    base: str
    base_resolved: bool
    duration_s: float


def reference(cell: Cell) -> str:
    return f"llenergymeasure/{cell.backend}:{cell.version}-{cell.platform}".replace("+", "-")


def dockerfile(cell: Cell) -> str:
    return f"docker/{cell.backend}.Dockerfile"


def base_of(cell: Cell, options: BuildOptions = BuildOptions()) -> str:
    found = options.base_image or cell.base
    if not found:
        raise RequestError(
            f"{cell.name} has no base image", f"set base_image in matrix.toml, or {BASE_IMAGE} to an image"
        )
    return found


def arguments(cell: Cell, options: BuildOptions = BuildOptions()) -> dict[str, str]:
    """The build arguments of the cell's Dockerfile."""
    found = {
        "BASE_IMAGE": base_of(cell, options),
        "PYTHON": cell.python,
        "SYSTEM_PACKAGES": " ".join(cell.system_packages),
        "LOCK": f"{cell.name}.txt",
        "OFFLINE": "1" if options.offline else "",
    }
    if cell.torch:
        found["TORCH_INDEX"] = "" if options.offline else locks.extra_index(cell, options.wheelhouse)
    return found


def labels(cell: Cell, base_image: str, commit: str | None, *, dirty: bool | None, lock: str | None) -> dict[str, str]:
    """OCI's labels, and this project's own for what they have no word for; one that is not known is left out."""
    name, _, digest = base_image.partition("@")
    known = {
        "org.opencontainers.image.title": f"llenergymeasure {cell.name}",
        "org.opencontainers.image.version": metadata.version("llenergymeasure"),
        "org.opencontainers.image.licenses": "Apache-2.0",
        "org.opencontainers.image.revision": f"{commit}{'-dirty' if dirty else ''}" if commit else "",
        "org.opencontainers.image.base.name": name,
        "org.opencontainers.image.base.digest": digest,
        f"{LABEL}.cell": cell.name,
        f"{LABEL}.package": f"{cell.package}=={cell.version}",
        f"{LABEL}.python": cell.python,
        f"{LABEL}.torch": cell.torch,
        f"{LABEL}.lock": hashlib.sha256(lock.encode()).hexdigest() if lock is not None else "",
    }
    return {key: value for key, value in known.items() if value}


def bake(cells: Iterable[Cell], checkout: Path) -> dict[str, Any]:
    """A bake file as `docker buildx bake -f FILE` takes it; its context is the checkout."""
    commit, dirty = base.commit_of(checkout)
    targets = {}
    for cell in cells:
        lock = locks.read(cell, checkout)
        targets[cell.name.replace(".", "_")] = {
            "context": ".",
            "dockerfile": dockerfile(cell),
            "args": arguments(cell),
            "labels": labels(cell, base_of(cell), commit, dirty=dirty, lock=lock),
            "tags": [reference(cell)],
        }
    return {"group": {"default": {"targets": list(targets)}}, "target": targets}


def command(
    builder: builders.Builder, cell: Cell, options: BuildOptions, folder: Path, labelled: Mapping[str, str]
) -> list[str]:
    """The build's whole command line; `folder` holds the context and gets the image's identity."""
    argv = [builder.client, *builder.build, "--file", str(folder / "context" / dockerfile(cell))]
    argv += ["--tag", reference(cell), "--iidfile", str(folder / "image-id")]
    for name, value in arguments(cell, options).items():
        argv += ["--build-arg", f"{name}={value}"]
    for name in _PROXIES:
        # Without a value it is taken from the environment, and it is kept in no layer.
        argv += [part for way in (name, name.lower()) if way in os.environ for part in ("--build-arg", way)]
    for name, value in labelled.items():
        argv += ["--label", f"{name}={value}"]
    if options.ca_bundle:
        argv += ["--secret", f"id=ca_bundle,src={options.ca_bundle}"]
    if options.offline:
        argv += ["--network", "none"]
    return [*argv, str(folder / "context")]


def build(cell: Cell, checkout: Path, log: Path, on_line: OnLine, options: BuildOptions) -> Image:
    """Build the cell's image, or find that nothing changed; `log` gets all of the build's output.

    Raises EnvironmentLacksError without a builder, a daemon or room, RequestError for a lock or a base that does not
    fit, SetupTimeoutError at the deadline, and build_failures.BuildError with the last lines where a step failed.
    """
    builder = builders.find(options.engine)
    base_image = base_of(cell, options)
    work = log.parent
    work.mkdir(parents=True, exist_ok=True)
    lock = locks.read(cell, checkout)
    if lock is None:
        on_line(f"{cell.name}: {locks.FOLDER / cell.name}.txt is not there: what its image holds is not pinned")
        lock = locks.make(cell, checkout, work, on_line)
    if "@" not in base_image:
        on_line(f"{cell.name}: base image {base_image} has no digest: its next build may start from another one")
    commit, dirty = base.commit_of(checkout)
    labelled = labels(cell, base_image, commit, dirty=dirty, lock=lock)
    _check_room(builder, cell, labelled)
    folder = work.parent / "image"
    context.lay_out(folder / "context", checkout, (locks.FOLDER / f"{cell.name}.txt", lock), options.wheelhouse)
    (folder / "image-id").unlink(missing_ok=True)
    on_line(f"{cell.name}: building its image {reference(cell)} with {builder.client}")
    lines: list[str] = []

    def note(line: str) -> None:
        lines.append(line)
        on_line(line)

    argv = command(builder, cell, options, folder, labelled)
    environment = {**os.environ, **builder.environment}
    ended = run_group(argv, cwd=checkout, env=environment, log=log, on_line=note, deadline_s=options.deadline_s)
    if ended.timed_out:
        cause = f"{cell.name}: its image was not built after {options.deadline_s:g} s"
        raise installing.SetupTimeoutError(cause, f"see {log.name}")
    if ended.returncode != 0:
        raise build_failures.read(cell, base_image, lines, log)
    image_id = (folder / "image-id").read_text(encoding="utf-8").strip()
    # Podman leaves out what kind of number it is.
    image_id = image_id if ":" in image_id else f"sha256:{image_id}"
    return Image(reference(cell), image_id, base_image, "@" in base_image, ended.duration_s)


def needed_gb(cell: Cell, labelled: Mapping[str, str], there: Mapping[str, str]) -> float:
    """What a build takes: all of it, or little where the image that is there was made of the same packages."""
    same = (f"{LABEL}.lock", "org.opencontainers.image.base.name")
    if there and all(there.get(key) == labelled.get(key) for key in same):
        return min(_SMALL_GB, cell.disk_gb)
    return cell.disk_gb


def _check_room(builder: builders.Builder, cell: Cell, labelled: Mapping[str, str]) -> None:
    found = builders.free_bytes(builder)
    needed = needed_gb(cell, labelled, builders.labels_of(builder, reference(cell)))
    if found is not None and found[0] < needed * 1e9:
        raise EnvironmentLacksError(
            f"{cell.name}: its image needs {needed:g} GB, and {found[1]} has {found[0] / 1e9:.1f} GB free",
            f"make room there: `{builder.engine} system df` says what takes it",
        )
