"""CPU package energy from RAPL, as Linux shows it under /sys/class/powercap (Intel and AMD alike).

It counts the whole package: other programs on the machine are in the figure, too.
"""

from collections.abc import Sequence
from pathlib import Path

from llenergymeasure.core.energy.meters import Count, Meter, NoMeter, Reading

POWERCAP = Path("/sys/class/powercap")


class RaplMeter:
    """One counter per CPU package; domains inside a package (cores, memory) would count twice and are left out."""

    def __init__(self, packages: Sequence[tuple[str, Path]]) -> None:
        self._packages = tuple(packages)

    @classmethod
    def open(cls, root: Path = POWERCAP) -> Meter:
        """A meter over every package domain under `root`, or a `NoMeter` where there is none."""
        packages = []
        try:
            # The prefix leaves out intel-rapl-mmio, a second road to the same counters.
            for domain in sorted(root.glob("intel-rapl:*")):
                name = (domain / "name").read_text(encoding="ascii").strip()
                if name.startswith("package"):
                    packages.append((name, domain))
        except OSError as error:
            return NoMeter(
                f"{error.filename}: {error.strerror}; container engines hide RAPL, so run on the host or with "
                "`--security-opt systempaths=unconfined`"
            )
        if not packages:
            return NoMeter(
                f"{root} has no RAPL package domain, as in most virtual machines; CPU energy needs bare metal"
            )
        return cls(packages)

    def read(self) -> Reading:
        return Reading({name: _count(domain) for name, domain in self._packages})

    def close(self) -> None:
        """Files are opened and closed at each reading."""


def _count(domain: Path) -> Count:
    file = domain / "energy_uj"
    try:
        value_uj = int(file.read_text(encoding="ascii"))
        range_uj = int((domain / "max_energy_range_uj").read_text(encoding="ascii"))
    except PermissionError:
        return Count(
            None, f"{file} is readable by root only; run as root or `sudo chmod a+r {domain.parent}/*/energy_uj`"
        )
    except OSError as error:
        return Count(None, f"{file}: {error.strerror}")
    except ValueError as error:
        return Count(None, f"{file}: not a number ({error})")
    return Count(value_uj, range_uj=range_uj)
