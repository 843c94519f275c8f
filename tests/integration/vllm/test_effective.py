"""Every field of the engine at rung effective: after a real load its workers' configuration reads the sample back.

Without the field the same place reads something else. What the engine changes or keeps nowhere is no rung, but it must
have arrived at the real API, and a change must be told.
"""

import pytest

from .conftest import Engines
from .fixtures_effective import Readings, engine_fields, lacking, surface
from .fixtures_running import platform


@pytest.fixture(scope="module")
def readings(engines: Engines) -> Readings:
    return Readings(engines)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.field(name, "effective")) for name in engine_fields()]
)
def test_the_running_engine_reads_the_value_back(readings: Readings, name: str) -> None:
    if missing := lacking(name):
        pytest.skip(f"needs a vLLM version with {missing}: {surface().version} has none")
    reading = readings.with_field(name)
    if reading.refused:
        pytest.skip(f"vLLM {surface().version} refuses it on {platform()}: {reading.refused}")
    values = reading.sent(name)
    assert values, "nothing of it was sent"
    where = f"vLLM {surface().version} on {platform()}"
    if not reading.reads(values):
        assert reading.arrived(values) or reading.changed_by_its_class(name, values), f"{values} did not arrive"
        if not reading.keeps(values):
            pytest.skip(f"{where} takes it and keeps no such value")
        assert reading.told(name), f"{where} changes {values}, and nothing is told of it"
        pytest.skip(f"{where} changes it: {'; '.join(reading.told(name))}")
    if readings.without_field(name).reads(values):
        pytest.skip(f"{where} runs with {values} without the field, too")
