"""The runners `docker` and `podman`: an image and one container for a cell, its results taken over."""

import dataclasses
import os
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from llenergymeasure.errors import EnvironmentLacksError
from llenergymeasure.matrix import limits
from llenergymeasure.matrix.records import CellRecord, Outcome
from llenergymeasure.matrix.runners import base, container, gpu, owners, results
from llenergymeasure.matrix.runners.daemon import TIMEOUT_S, Daemon, connect, failures
from llenergymeasure.matrix.runners.installing import SetupTimeoutError
from llenergymeasure.matrix.spec import Cell

BUILD_LOG = "build.log"
FOLDER = "results"
# Who runs in a container where the caller is root: nobody that a system or a base image knows.
NOBODY = 65532


class Image(Protocol):
    """What a builder gives back, as far as running needs it."""

    @property
    def reference(self) -> str: ...

    @property
    def image_id(self) -> str: ...


class ImageBuilder(Protocol):
    """Makes the image of a cell, or finds it made.

    `python` is on its PATH and has this project with its backend, and its working folder is the checkout.
    Raises LlemError where it cannot; what goes on is told to `on_line` and in full to `log`.
    """

    def __call__(self, cell: Cell, checkout: Path, log: Path, on_line: base.OnLine) -> Image: ...


@dataclass(frozen=True)
class ContainerRunner:
    """Implements `base.Runner`.

    Attributes:
        name: docker or podman.
        program: what runs in the container, before the cell's name.
        jobs: how many cells share the machine.
        keep: leave container and results for a look.
        grace_s: between SIGTERM and SIGKILL.
    """

    name: str
    build: ImageBuilder
    program: tuple[str, ...] = ("python", "-m", "llenergymeasure.matrix.cell")
    jobs: int = 1
    keep: bool = False
    grace_s: float = 10.0
    timeout_s: float = TIMEOUT_S

    def available(self) -> base.Availability:
        try:
            with self._connect() as daemon:
                return base.Availability(ok=True, why=f"{daemon.words} answers")
        except EnvironmentLacksError as error:
            return base.Availability(ok=False, why=error.cause, remedy=error.remedy)

    def reaches(self, platform: str, devices: Sequence[str] = ()) -> base.Availability:
        if platform != "cuda":
            return base.Availability(ok=True, why="nothing but the daemon is needed")
        try:
            with self._connect() as daemon:
                way = gpu.reach(daemon, devices, user(daemon))
        except EnvironmentLacksError as error:
            return base.Availability(ok=False, why=error.cause, remedy=error.remedy)
        return base.Availability(ok=True, why=f"a tiny container reaches it through {way.name}")

    def run(
        self,
        cell: Cell,
        checkout: Path,
        out_dir: Path,
        deadline_s: float,
        on_line: base.OnLine,
        devices: Sequence[str] = (),
        *,
        tests: tuple[str, ...] = (),
    ) -> CellRecord:
        checkout, out_dir = checkout.resolve(), out_dir.resolve()
        begun = base.start(cell, self.name, "", checkout)
        return base.recorded(
            begun, out_dir, deadline_s, lambda: self._run(begun, checkout, out_dir, deadline_s, on_line, devices, tests)
        )

    def _run(
        self,
        begun: base.Start,
        checkout: Path,
        out_dir: Path,
        deadline_s: float,
        on_line: base.OnLine,
        devices: Sequence[str],
        tests: tuple[str, ...],
    ) -> CellRecord:
        (out_dir / BUILD_LOG).unlink(missing_ok=True)
        with self._connect() as daemon:
            way = gpu.reach(daemon, devices, user(daemon)) if begun.cell.platform == "cuda" else None
            try:
                image = self.build(begun.cell, checkout, out_dir / BUILD_LOG, on_line)
            except SetupTimeoutError as error:
                return base.broken(begun, Outcome.TIMEOUT, "; ".join(filter(None, [error.cause, error.remedy])))
            on_line(f"{begun.cell.name}: {image.reference} ({image.image_id[:19]}) on {daemon.words}")
            folder = results.fresh(out_dir / FOLDER, user(daemon))
            plan = self._plan(begun.cell, daemon, image, folder, way, tests)
            problems: list[str] = []
            try:
                ended = container.run(
                    daemon,
                    plan,
                    log=out_dir / base.LOG,
                    on_line=on_line,
                    deadline_s=deadline_s,
                    grace_s=self.grace_s,
                    keep=self.keep,
                )
            finally:
                problems += results.take(base.RESULTS, out_dir / FOLDER, out_dir)
                if not self.keep:
                    results.remove(out_dir / FOLDER)
        record = base.assemble(begun, out_dir, ended, deadline_s, problems)
        return dataclasses.replace(record, image_digest=image.image_id)

    def _connect(self) -> Daemon:
        return connect(self.name, timeout_s=self.timeout_s)

    def _plan(
        self, cell: Cell, daemon: Daemon, image: Image, folder: Path, way: gpu.Way | None, tests: Sequence[str]
    ) -> container.Plan:
        run = uuid.uuid4().hex[:8]
        most = limits.of(cell.limits)
        return container.Plan(
            name=re.sub(r"[^A-Za-z0-9_.-]", "-", f"llem-{cell.name}-{run}"),
            image=image.image_id,
            argv=[*self.program, cell.name, "--out", container.OUT, *base.only(tests)],
            labels=owners.labels(cell.name, run),
            user=user(daemon),
            limits=most,
            memory_bytes=most.memory_bytes(daemon.memory_bytes, self.jobs),
            folder=folder,
            environment={**cell.environment, **base.ENVIRONMENT},
            devices=way.requests if way else (),
        )


def user(daemon: Daemon) -> tuple[int, int]:
    """Who a container runs as: the caller, so that results are the caller's own; never this machine's root.

    A daemon without root's rights maps the container's root to the caller, and anyone else in it to strangers.
    """
    if daemon.secured_by("rootless"):
        return 0, 0
    return (NOBODY, NOBODY) if os.geteuid() == 0 else (os.geteuid(), os.getegid())


@dataclass(frozen=True)
class Given:
    """Implements `ImageBuilder` with an image that is there already.

    Attributes:
        kind: of the daemon that has it.
        reference: its name or id.
    """

    kind: str
    reference: str

    def __call__(self, cell: Cell, checkout: Path, log: Path, on_line: base.OnLine) -> "Found":  # noqa: ARG002
        with connect(self.kind) as daemon:
            try:
                return Found(self.reference, daemon.api.inspect_image(self.reference)["Id"])
            except failures() as error:
                names = sorted({tag for row in daemon.api.images() for tag in row.get("RepoTags") or ()})
                remedy = f"name one of {', '.join(names)}" if names else f"{daemon.words} has none: load one"
                cause = f"image {self.reference}: {container.words(error)}"
                raise EnvironmentLacksError(cause, remedy) from error


@dataclass(frozen=True)
class Found:
    """Implements `Image`."""

    reference: str
    image_id: str
