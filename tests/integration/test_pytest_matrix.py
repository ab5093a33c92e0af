"""``pytest --bubbles`` on real packages: one library on pydantic 1 and 2, and main has neither."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.integration.scene import needs_compiled_pydantic_1

if TYPE_CHECKING:
    from tests.integration.conftest import Program
    from tests.integration.scene import Scene

pytestmark = [pytest.mark.world, needs_compiled_pydantic_1]

LIBRARY = """
    import pydantic

    class Order(pydantic.BaseModel):
        number: int
        names: list[str] = []

    def schema() -> dict:
        # Compiled code of pydantic 1 imports the rest of itself when this is called.
        new = getattr(Order, "model_json_schema", None)
        return new() if new else Order.schema()
"""

TESTS = """
    import numpy
    import pydantic
    import pytest
    from hypothesis import given, strategies
    from orders import Order, schema

    def test_version():
        print("pydantic", pydantic.VERSION)
        assert Order.__mro__[1] is pydantic.BaseModel

    @given(strategies.integers(), strategies.lists(strategies.text()))
    def test_fields(number, names):
        assert dict(Order(number=number, names=names)) == {"number": number, "names": names}

    def test_errors():
        with pytest.raises(pydantic.ValidationError, match="number"):
            Order(number="many")

    def test_schema():
        assert sorted(schema()["properties"]) == ["names", "number"]

    def test_what_main_has_is_there():
        assert Order(number=int(numpy.arange(3).sum())).number == 3
"""


def test_one_library_on_two_versions_in_one_process(scene: Scene, program: Program) -> None:
    program(LIBRARY, name="orders.py")
    tests = program(TESTS, name="test_orders.py")
    done = scene.run(
        *("-m", "pytest", "-p", "omnipkg_meta.integrations.pytest_plugin", "-rP"),
        *("-p", "no:cacheprovider", "--rootdir", tests.parent, tests),
        *("--bubbles", "pydantic==1.10.19", "--bubbles", "pydantic>=2"),
    )
    assert "10 passed" in done.stdout, done.stdout + done.stderr
    assert [one[0] for one in re.findall(r"^pydantic (\d)", done.stdout, re.MULTILINE)] == [
        "1",
        "2",
    ]
