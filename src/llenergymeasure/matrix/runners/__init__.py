"""Where a cell can run; every runner stands behind the one interface in `base`."""

import difflib

from llenergymeasure.errors import EnvironmentLacksError, RequestError
from llenergymeasure.matrix.runners.base import Runner
from llenergymeasure.matrix.runners.venv import VenvRunner


def runners() -> tuple[Runner, ...]:
    """All of them, the preferred first."""
    return (VenvRunner(),)


def pick(name: str | None) -> tuple[Runner, str]:
    """The runner asked for, else the first that is available; and why that one."""
    found = {runner.name: runner for runner in runners()}
    if name is not None:
        if name not in found:
            near = difflib.get_close_matches(name, found, n=1)
            remedy = f"did you mean {near[0]!r}?" if near else f"the runners are {', '.join(found)}"
            raise RequestError(f"no runner {name!r}", remedy)
        availability = found[name].available()
        if not availability.ok:
            raise EnvironmentLacksError(f"runner {name}: {availability.why}", "choose another with --runner")
        return found[name], "asked for"
    refusals: list[str] = []
    for runner in found.values():
        availability = runner.available()
        if availability.ok:
            return runner, "; ".join([*refusals, availability.why])
        refusals.append(f"{runner.name}: {availability.why}")
    raise EnvironmentLacksError(f"no runner can run here: {'; '.join(refusals)}", "make one of them available")
