"""pydantic 1.10.19, which Cython compiled, and pydantic 2, which is Rust; main has neither."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.integration.scene import needs_compiled_pydantic_1

if TYPE_CHECKING:
    from tests.integration.conftest import Program
    from tests.integration.scene import Scene

pytestmark = [pytest.mark.world, needs_compiled_pydantic_1]

START = """
    import json, pickle, sys, threading
    from typing import List, Optional
    import omnipkg_meta as om

    ONE, TWO = om.use("pydantic==1.10.19"), om.use("pydantic>=2")
"""

#: The names that pydantic 1's compiled functions import when they are called.
SCHEMA = """
    with ONE:
        import pydantic as one
        assert one.compiled and one.VERSION == "1.10.19"

        class Inner(one.BaseModel):
            n: int

        class Outer(one.BaseModel):
            inner: Optional[Inner] = None
            many: List[Inner] = []

    def late():
        \"\"\"Call what imports pydantic's main, json and schema when it is called.\"\"\"
        schema = json.loads(Outer.schema_json())
        title = one.schema_of(Outer)["title"]
        return [sorted(schema["definitions"]), sorted(schema["properties"]), title]
"""


@pytest.mark.parametrize("where", ["outside", "inside the other", "inside main", "in a thread"])
def test_compiled_functions_that_import_when_called_do_so_in_their_bubble(
    scene: Scene, program: Program, where: str
) -> None:
    script = program(
        START,
        SCHEMA,
        """
        where = sys.argv[1]
        if where == "outside":
            result = late()
        elif where == "in a thread":
            results = []
            thread = threading.Thread(target=lambda: results.append(late()))
            thread.start()
            thread.join()
            (result,) = results
        else:
            with TWO if where == "inside the other" else om.use(om.main):
                result = late()
        try:
            import pydantic
        except ModuleNotFoundError:
            print(json.dumps(result))
        """,
    )
    assert scene.answer(script, where) == [["Inner"], ["inner", "many"], "ParsingModel[Outer]"]


def test_a_compiled_function_imports_a_package_that_only_its_bubble_has(
    scene: Scene, program: Program
) -> None:
    script = program(
        START,
        """
        with ONE:
            from pydantic.networks import validate_email, import_email_validator
            from pydantic import BaseModel, EmailStr
            loaded = "email_validator" in sys.modules
        import_email_validator()  # imports it, for the first time, from compiled code
        with ONE:
            loaded = [loaded, "email_validator" in sys.modules]

        class Person(BaseModel):
            email: EmailStr

        print(json.dumps([
            loaded,
            "email_validator" in sys.modules,
            validate_email("Somebody <some@example.com>"),
            Person(email="some@example.com").dict(),
        ]))
        """,
    )
    assert scene.answer(script) == [
        [False, True],
        False,
        ["Somebody", "some@example.com"],
        {"email": "some@example.com"},
    ]


def test_both_pydantics_validate_side_by_side_in_threads(scene: Scene, program: Program) -> None:
    script = program(
        START,
        """
        barrier = threading.Barrier(4, timeout=60)
        results, wrong = [], []

        def work(scope, version):
            with scope:
                barrier.wait()  # so that both are first loaded at the same time
                import pydantic
                from pydantic import BaseModel, Field, ValidationError
                assert pydantic.VERSION.startswith(version), pydantic.VERSION

                class Model(BaseModel):
                    n: int = Field(ge=0)
                    tags: List[str] = []
                    next: Optional["Model"] = None

                getattr(Model, "model_rebuild", getattr(Model, "update_forward_refs", None))()
                for turn in range(200):
                    model = Model(n=str(turn), tags=["a"], next={"n": 1})
                    assert type(model.next) is Model
                    try:
                        Model(n=-1)
                    except ValidationError as error:
                        assert len(error.errors()) == 1
                    else:
                        raise AssertionError
            dump = getattr(model, "model_dump", None) or model.dict
            results.append([version, dump(), hasattr(model, "model_dump")])

        def run(*arguments):
            try:
                work(*arguments)
            except BaseException as error:
                wrong.append(repr(error))
                barrier.abort()

        threads = [
            threading.Thread(target=run, args=pair) for pair in [(ONE, "1.10.19"), (TWO, "2.")] * 2
        ]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        print(json.dumps([wrong, sorted(results, key=lambda result: result[0])]))
        """,
    )
    last = {"n": 199, "tags": ["a"], "next": {"n": 1, "tags": [], "next": None}}
    assert scene.answer(script) == [
        [],
        [["1.10.19", last, False]] * 2 + [["2.", last, True]] * 2,
    ]


def test_models_of_both_are_made_used_and_pickled_after_their_scopes(
    scene: Scene, program: Program
) -> None:
    script = program(
        START,
        """
        with ONE:
            import pydantic as one
        with TWO:
            import pydantic as two

        # Their classes are made, and their errors raised, where no pydantic can be imported.
        class Old(one.BaseModel):
            n: int

            @one.validator("n")
            def positive(cls, value):
                assert value > 0, "not positive"
                return value

        class New(two.BaseModel):
            n: int

            @two.field_validator("n")
            def positive(cls, value):
                assert value > 0, "not positive"
                return value

        def message(model, error):
            try:
                model(n=-1)
            except error as caught:
                return caught.errors()[0]["msg"]

        old, new = Old.parse_raw('{"n": 1}'), New.model_validate_json('{"n": 2}')
        result = [
            old.json(),
            new.model_dump_json(),
            message(Old, one.ValidationError),
            message(New, two.ValidationError),
            New.model_json_schema()["title"],
            two.TypeAdapter(List[int]).validate_python(["1"]),
            one.parse_obj_as(List[int], ["1"]),
            [old.copy(update={"n": 5}).n, new.model_copy(update={"n": 6}).n],
            [pickle.loads(pickle.dumps(model)) == model for model in (old, new)],
        ]
        print(json.dumps(result))
        """,
    )
    old, new, old_message, new_message, *rest = scene.answer(script)
    assert (json.loads(old), json.loads(new)) == ({"n": 1}, {"n": 2})
    assert (old_message, new_message) == ("not positive", "Assertion failed, not positive")
    assert rest == ["New", [1], [1], [5, 6], [True, True]]
