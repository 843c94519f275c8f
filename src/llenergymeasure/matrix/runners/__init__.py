"""Where a cell can run; every runner stands behind the one interface in `base`."""

import difflib
from dataclasses import dataclass
from pathlib import Path

from llenergymeasure.errors import EnvironmentLacksError, RequestError
from llenergymeasure.matrix.runners import base
from llenergymeasure.matrix.runners.base import Runner
from llenergymeasure.matrix.runners.containers import ContainerRunner, Given, Image, ImageBuilder
from llenergymeasure.matrix.runners.venv import VenvRunner
from llenergymeasure.matrix.spec import Cell

# The first that is available is taken where none is asked for.
PREFERRED = ("venv", "docker", "podman")


@dataclass(frozen=True)
class Options:
    """What a caller may choose of runners on a container daemon.

    Attributes:
        image: one that is there already, to run in instead of building the cell's own.
        jobs: how many cells run beside each other.
        keep: leave containers and results for a look.
    """

    image: str | None = None
    jobs: int = 1
    keep: bool = False

    def build_on(self, name: str) -> ImageBuilder:
        return _built_by(name) if self.image is None else Given(name, self.image)


def runners(options: Options | None = None) -> tuple[Runner, ...]:
    """All of them, the preferred first."""
    chosen = options or Options()
    return tuple(
        VenvRunner()
        if name == "venv"
        else ContainerRunner(name, chosen.build_on(name), jobs=chosen.jobs, keep=chosen.keep)
        for name in PREFERRED
    )


def pick(name: str | None, options: Options | None = None) -> tuple[Runner, str]:
    """The runner asked for, else the first that is available; and why that one."""
    found = {runner.name: runner for runner in runners(options)}
    if name is not None:
        if name not in found:
            near = difflib.get_close_matches(name, found, n=1)
            remedy = f"did you mean {near[0]!r}?" if near else f"the runners are {', '.join(found)}"
            raise RequestError(f"no runner {name!r}", remedy)
        availability = found[name].available()
        if not availability.ok:
            remedy = "; ".join(filter(None, [availability.remedy, "or choose another with --runner"]))
            raise EnvironmentLacksError(f"runner {name}: {availability.why}", remedy.removeprefix("or "))
        return found[name], "asked for" if name == "venv" else f"asked for; {availability.why}"
    refusals: list[str] = []
    for runner in found.values():
        availability = runner.available()
        if availability.ok:
            return runner, "; ".join([*refusals, availability.why])
        refusals.append(f"{runner.name}: {availability.why}")
    raise EnvironmentLacksError(f"no runner can run here: {'; '.join(refusals)}", "make one of them available")


def _built_by(engine: str) -> ImageBuilder:
    """Builds each cell's own image with the program of one kind of daemon, as the environment says how."""

    def build(cell: Cell, checkout: Path, log: Path, on_line: base.OnLine) -> Image:
        from llenergymeasure.matrix import images

        return images.build(cell, checkout, log, on_line, images.BuildOptions.from_environment(engine))

    return build
