from pathlib import Path

import pytest

from llenergymeasure.core.energy.meters import Count, NoMeter, energy_between
from llenergymeasure.core.energy.rapl import RaplMeter

# Intel's usual range: 262144 J. At 600 W it takes 437 s to go round.
RANGE_UJ = 262_144_000_000


@pytest.mark.parametrize(
    ("before_uj", "after_uj", "range_uj", "duration_s", "energy_j"),
    [
        pytest.param(1_000_000, 3_500_000, None, 10.0, 2.5, id="plain"),
        pytest.param(5_000_000, 7_000_000, RANGE_UJ, 10.0, 2.0, id="with a range, no wrap"),
        # 4 J up to the end of the range and 6 J after it.
        pytest.param(RANGE_UJ - 4_000_000, 6_000_000, RANGE_UJ, 10.0, 10.0, id="wrapped once"),
        # Without a range, hours are no doubt: GPU counters do not wrap.
        pytest.param(0, 9_000_000_000_000, None, 86_400.0, 9_000_000.0, id="a day on a GPU"),
        # One more round would have been 262144 J + 140000 J in 500 s: 804 W, more than any package draws.
        pytest.param(0, 140_000_000_000, RANGE_UJ, 500.0, 140_000.0, id="a second wrap is impossible"),
    ],
)
def test_a_counter_gains_joules(
    before_uj: int, after_uj: int, range_uj: int | None, duration_s: float, energy_j: float
) -> None:
    found, reason = energy_between(Count(before_uj, range_uj=range_uj), Count(after_uj, range_uj=range_uj), duration_s)

    assert found == pytest.approx(energy_j)
    assert reason == ""


@pytest.mark.parametrize(
    ("before", "after", "duration_s", "because"),
    [
        pytest.param(Count(None, "no driver"), Count(5), 10.0, "no driver", id="unread at the start"),
        pytest.param(Count(5), Count(None, "GPU is lost"), 10.0, "GPU is lost", id="unread at the end"),
        pytest.param(Count(9), Count(5), 10.0, "went backwards", id="backwards without a range"),
        pytest.param(Count(5), Count(5), 0.05, "did not move in 0.050 s", id="stood still"),
        # 1000 s at 262 W more would be one more round.
        pytest.param(
            Count(0, range_uj=RANGE_UJ),
            Count(10**10, range_uj=RANGE_UJ),
            1000.0,
            "at most 437 s",
            id="may have wrapped twice",
        ),
    ],
)
def test_no_reading_is_none_with_a_reason(before: Count, after: Count, duration_s: float, because: str) -> None:
    found, reason = energy_between(before, after, duration_s)

    assert found is None
    assert because in reason


def _domain(root: Path, folder: str, name: str, energy_uj: str = "1000") -> Path:
    domain = root / folder
    domain.mkdir(parents=True)
    (domain / "name").write_text(f"{name}\n")
    (domain / "energy_uj").write_text(f"{energy_uj}\n")
    (domain / "max_energy_range_uj").write_text(f"{RANGE_UJ}\n")
    return domain


def test_rapl_reads_each_package_once_and_nothing_inside_it(tmp_path: Path) -> None:
    _domain(tmp_path, "intel-rapl:0", "package-0", "11")
    _domain(tmp_path, "intel-rapl:0:0", "core", "1")
    _domain(tmp_path, "intel-rapl:0:1", "dram", "2")
    _domain(tmp_path, "intel-rapl:1", "package-1", "22")
    _domain(tmp_path, "intel-rapl:2", "psys", "99")
    _domain(tmp_path, "intel-rapl-mmio:0", "package-2", "33")

    counts = RaplMeter.open(tmp_path).read().counts

    assert counts == {"package-0": Count(11, range_uj=RANGE_UJ), "package-1": Count(22, range_uj=RANGE_UJ)}


def test_dies_of_one_package_are_counted_each(tmp_path: Path) -> None:
    _domain(tmp_path, "intel-rapl:0", "package-0-die-0", "11")
    _domain(tmp_path, "intel-rapl:1", "package-0-die-1", "22")

    assert set(RaplMeter.open(tmp_path).read().counts) == {"package-0-die-0", "package-0-die-1"}


@pytest.mark.parametrize("there", [True, False])
def test_a_machine_without_rapl_says_so(tmp_path: Path, there: bool) -> None:
    root = tmp_path if there else tmp_path / "powercap"

    meter = RaplMeter.open(root)

    assert isinstance(meter, NoMeter)
    assert f"{root} has no RAPL package domain" in meter.reason
    assert meter.read().reason == meter.reason


def test_a_container_that_hides_rapl_says_so(tmp_path: Path) -> None:
    # Container engines mask the folder that the links point to.
    (tmp_path / "intel-rapl:0").symlink_to(tmp_path / "masked")

    meter = RaplMeter.open(tmp_path)

    assert isinstance(meter, NoMeter)
    assert "intel-rapl:0/name" in meter.reason
    assert "systempaths=unconfined" in meter.reason


def test_a_counter_for_root_only_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    domain = _domain(tmp_path, "intel-rapl:0", "package-0")
    read_text = Path.read_text

    def as_a_user(path: Path, encoding: str | None = None) -> str:
        # The tests may run as root, whom no file mode stops.
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied", str(path))
        return read_text(path, encoding)

    monkeypatch.setattr(Path, "read_text", as_a_user)

    count = RaplMeter.open(tmp_path).read().counts["package-0"]

    assert count.value_uj is None
    assert f"{domain / 'energy_uj'} is readable by root only" in count.reason
    assert f"chmod a+r {tmp_path}/*/energy_uj" in count.reason


def test_a_counter_that_vanishes_or_is_no_number_is_a_reason(tmp_path: Path) -> None:
    gone = _domain(tmp_path, "intel-rapl:0", "package-0")
    _domain(tmp_path, "intel-rapl:1", "package-1", "many")
    meter = RaplMeter.open(tmp_path)
    (gone / "energy_uj").unlink()

    counts = meter.read().counts

    assert (counts["package-0"].value_uj, counts["package-1"].value_uj) == (None, None)
    assert "No such file" in counts["package-0"].reason
    assert "not a number" in counts["package-1"].reason
