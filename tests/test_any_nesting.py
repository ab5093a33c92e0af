"""Scopes nested in any way: hypothesis makes the ways up, a model of the rules says what is right.

Threads, tasks and copied contexts enter and leave scopes, and run generators that do;
blocks end by return, exception, cancellation, a generator's end, the end of a thread or
of a forked child.  After each step everybody who is alive sees what the model says.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import importlib
import os
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

import omnipkg_meta as om
from omnipkg_meta.realm import MAIN, realm_of
from tests import actors
from tests.actors import Actor, ContextActor, TaskActor, ThreadActor
from tests.scope_model import Asker, Model, Stack
from tests.worlds import world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from collections.abc import Callable

    from omnipkg_meta.scope import Scope
    from tests.worlds import World

    Seen = dict[str, list[str | None]]
    Look = Callable[[], Seen]

#: Looks in three ways at two packages, which the text calls ONE and TWO.
CODE = """
    import sys
    from importlib import metadata


    def look():
        found = {"ONE": [], "TWO": []}
        try:
            import ONE
            from ONE import late

            assert late.version == ONE.__version__
            found["ONE"].append(ONE.__version__)
        except ModuleNotFoundError:
            found["ONE"].append(None)
        try:
            import TWO as module

            found["TWO"].append(module.__version__)
        except ModuleNotFoundError:
            found["TWO"].append(None)
        for name in found:
            found[name].append(sys.modules[name].__version__ if name in sys.modules else None)
            try:
                found[name].append(metadata.version(name))
            except metadata.PackageNotFoundError:
                found[name].append(None)
        return found
"""

#: What the realms provide, of the two packages.
PROVIDES = {
    "main": {"one": "0"},
    "both": {"one": "1", "two": "1"},
    "first": {"one": "2"},
    "second": {"two": "3"},
}
SCOPES = {
    "both": ("both",),
    "first": ("first",),
    "second": ("second",),
    "first and second": ("first", "second"),
    "main": ("main",),
    "second, then main": ("second", "main"),
}
#: How many live at once: each of them is asked after each step.
CROWD = 5
ENOUGH = settings(
    max_examples=20,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
INHERITS = bool(getattr(sys.flags, "thread_inherit_context", 0))


class Scenery:
    """The packages, the scopes, and the pieces of code that look."""

    def __init__(self, world: World) -> None:
        names = {"one": world.name("one"), "two": world.name("two")}
        self.names = names
        code = textwrap.dedent(CODE).replace("ONE", names["one"]).replace("TWO", names["two"])

        def wheel(which: str, version: str, more: dict[str, str] | None = None) -> Any:
            name = names[which]
            late = f"from {name} import __version__ as version\n"
            files = {f"{name}/__init__.py": f"__version__ = '{version}'\n"}
            return world.wheel(name, version, {**files, f"{name}/late.py": late, **(more or {})})

        self.model = Model(PROVIDES, SCOPES)
        inside = {realm: world.name("code") for realm in PROVIDES if realm != "main"}
        bubbles = {
            realm: world.bubble(
                *(wheel(which, version) for which, version in PROVIDES[realm].items()),
                world.wheel(module, "1", {f"{module}.py": code}),
            )
            for realm, module in inside.items()
        }
        self.bubbles = list(bubbles.values())
        self.scopes: dict[str, Scope] = {
            scope: om.use(*(om.main if one == "main" else bubbles[one] for one in realms))
            for scope, realms in SCOPES.items()
        }
        user, declaring, pinned = (world.name(stem) for stem in ("user", "declaring", "pinned"))
        world.module(user, code)
        pin = f"import omnipkg_meta\nomnipkg_meta.pin(__name__, '{names['one']}==2')\n"
        world.install(
            wheel("one", "0", {f"{names['one']}/own.py": code}),
            world.wheel(declaring, "1", {f"{declaring}.py": code}, requires=[names["one"]]),
            world.wheel(pinned, "1", {f"{pinned}.py": pin + code}, requires=[names["one"]]),
        )
        needs_one = frozenset({"one"})
        self.user = Asker()
        self.askers = {
            self.user: self._code(user),
            Asker(declares=needs_one): self._code(declaring),
            # The package itself asks as one that declares it does.
            Asker(declares=needs_one | {"itself"}): self._code(f"{names['one']}.own"),
            Asker(declares=needs_one, pin="first"): self._code(pinned),
        }
        for realm, module in inside.items():
            with om.use(bubbles[realm]):
                self.askers[Asker(home=realm)] = self._code(module)

    @staticmethod
    def _code(module: str) -> Look:
        look: Look = importlib.import_module(module).look
        return look

    def forget(self) -> None:
        """Have the packages loaded afresh by whoever comes first."""
        for realm in (MAIN, *map(realm_of, self.bubbles)):
            for name in [
                one for one in realm.modules if one.startswith(tuple(self.names.values()))
            ]:
                realm.modules.pop(name, None)

    def expected(self, asker: Asker, stack: Stack) -> Seen:
        """Return what a piece of code has to see."""
        return {
            name: [self.model.answer(which, asker, stack)] * 3 for which, name in self.names.items()
        }


class Walker:
    """A generator that is in a scope, and what became of it.

    Attributes:
        scope: the scope.
        decorated: whether the scope decorates it; otherwise it has a bare ``with``.
        asynchronous: whether it is an async generator.
        generator: the generator.
        last: what it saw as it ended, once it has ended.
        started: whether it has made a step.
    """

    def __init__(self, scenery: Scenery, scope: str, form: str) -> None:
        self.scope = scope
        self.decorated = "decorated" in form
        self.asynchronous = "async" in form
        self.generator: Any
        make = actors.async_watched if self.asynchronous else actors.watched
        look = scenery.askers[scenery.user]
        self.generator, self.last = make(scenery.scopes[scope], look, decorated=self.decorated)
        self.started = False


SCOPE = st.sampled_from(sorted(SCOPES))
#: Whom, or which of several things, a step is about: taken modulo what there is.
WHICH = st.integers(0, 2 * CROWD)


class Nesting(RuleBasedStateMachine):
    """All that can happen to scopes.

    Few rules that each do several things, and no bundles: hypothesis leaves some rules
    out of each of its tries, and of many small rules those that meet would seldom meet.
    """

    def __init__(
        self, scenery: Scenery, loop: asyncio.AbstractEventLoop, executor: ThreadPoolExecutor
    ) -> None:
        super().__init__()
        self.scenery = scenery
        self.loop = loop
        self.executor = executor
        self.look = scenery.askers[scenery.user]
        self.stacks: dict[Actor, Stack] = {}
        #: The scopes of the blocks that somebody is in, the innermost last.
        self.blocks: dict[Actor, list[str]] = {}
        self.walkers: list[Walker] = []
        self.acted: Actor | None = None

    @initialize()
    def begin(self) -> None:
        self.scenery.forget()
        self._comes(ThreadActor(), ())
        self._comes(TaskActor(self.loop), ())

    def _one(self, which: int) -> Actor:
        self.acted = [*self.stacks][which % len(self.stacks)]
        return self.acted

    def _task(self, which: int) -> TaskActor | None:
        tasks = [one for one in self.stacks if isinstance(one, TaskActor)]
        self.acted = task = tasks[which % len(tasks)] if tasks else None
        return task

    # -- who there is ----------------------------------------------------------

    def _comes(self, actor: Actor, stack: Stack) -> None:
        self.stacks[actor], self.blocks[actor] = stack, []

    @rule(parent=WHICH, kind=st.sampled_from(["thread", "task", "copied context"]))
    def somebody_comes(self, parent: int, kind: str) -> None:
        if len(self.stacks) == CROWD:
            return
        maker = self._one(parent)
        stack = self.stacks[maker]
        if kind == "thread":
            self._comes(maker.do(ThreadActor), stack if INHERITS else ())
        elif kind == "copied context":
            self._comes(maker.do(lambda: ContextActor(self.executor)), stack)
        elif isinstance(maker, TaskActor):
            # It cannot wait for the loop that it runs in.
            made = maker.wait_for(lambda: asyncio.to_thread(TaskActor, self.loop))
            self._comes(made, stack)
        else:
            self._comes(maker.do(lambda: TaskActor(self.loop)), stack)

    @rule(which=WHICH)
    def somebody_ends(self, which: int) -> None:
        if len(self.stacks) > 2:
            actor = self._one(which)
            actor.end()
            del self.stacks[actor], self.blocks[actor]

    # -- blocks ----------------------------------------------------------------

    @rule(which=WHICH, scope=SCOPE, by_hand=st.booleans())
    def enter(self, *, which: int, scope: str, by_hand: bool) -> None:
        actor, manager = self._one(which), self.scenery.scopes[scope]
        if by_hand:
            actor.do(manager.__enter__)
        else:
            actor.enter(manager)
            self.blocks[actor].append(scope)
        self._entered(actor, scope)

    @rule(which=WHICH, how=st.sampled_from(["return", "exception", "cancellation"]))
    def leave(self, which: int, how: str) -> None:
        actor = self._one(which)
        if self.blocks[actor]:
            if how == "cancellation" and not isinstance(actor, TaskActor):
                how = "exception"
            actor.leave(how)
            self._left(actor, self.blocks[actor].pop())

    @rule(which=WHICH, depth=WHICH, other=st.none() | SCOPE)
    def leave_in_any_order(self, which: int, depth: int, other: str | None) -> None:
        actor = self._one(which)
        stack = self.stacks[actor]
        scope = other or (stack[depth % len(stack)] if stack else "both")
        actor.do(self.scenery.scopes[scope].__exit__)
        self._left(actor, scope)

    def _entered(self, actor: Actor, scope: str) -> None:
        self.stacks[actor] = Model.enter(self.stacks[actor], scope)

    def _left(self, actor: Actor, scope: str) -> None:
        self.stacks[actor] = Model.leave(self.stacks[actor], scope)

    # -- generators ------------------------------------------------------------

    @rule(
        which=WHICH,
        scope=SCOPE,
        form=st.sampled_from(["bare", "decorated", "bare async", "decorated async"]),
    )
    def begin_a_generator(self, which: int, scope: str, form: str) -> None:
        self.walkers.append(Walker(self.scenery, scope, form))
        self.resume(which, len(self.walkers) - 1)

    @rule(which=WHICH, walker=WHICH)
    def resume(self, which: int, walker: int) -> None:
        if not self.walkers:
            return
        one = self.walkers[walker % len(self.walkers)]
        seen: object
        if not one.asynchronous:
            actor = self._one(which)
            seen = actor.do(lambda: next(one.generator))
        elif (task := self._task(which)) is not None:
            actor = task
            seen = task.wait_for(lambda: anext(one.generator))
        else:
            return
        # A bare ``with`` enters in the context of whoever makes the first step, and
        # stays entered there; the decorator enters for the time of each step.
        if not one.decorated and not one.started:
            self._entered(actor, one.scope)
        one.started = True
        assert seen == self._within(one, actor)

    def _within(self, walker: Walker, actor: Actor) -> Seen:
        stack = self.stacks[actor]
        if walker.decorated:
            stack = Model.enter(stack, walker.scope)
        return self.scenery.expected(self.scenery.user, stack)

    @rule(which=WHICH, walker=WHICH, how=st.sampled_from(["close", "throw", "exhaust"]))
    def end(self, which: int, walker: int, how: str) -> None:
        if not self.walkers:
            return
        one = self.walkers[walker % len(self.walkers)]
        if how == "exhaust" and not one.started:
            how = "close"  # nothing can be sent to what has not begun
        if not one.asynchronous:
            actor = self._one(which)
            self._end(one, actor.do, how)
        elif (task := self._task(which)) is not None:
            actor = task
            self._end_async(one, task.wait_for, how)
        else:
            return
        self.walkers.remove(one)
        assert one.last == ([self._within(one, actor)] if one.started else [])
        if one.started and not one.decorated:
            self._left(actor, one.scope)

    @staticmethod
    def _end(walker: Walker, do: Callable[[Any], Any], how: str) -> None:
        generator = walker.generator
        if how == "throw":
            with pytest.raises(actors.Left):
                do(lambda: generator.throw(actors.Left()))
        elif how == "exhaust":
            with pytest.raises(StopIteration):
                do(lambda: generator.send("stop"))
        else:
            do(generator.close)

    @staticmethod
    def _end_async(walker: Walker, wait_for: Callable[[Any], Any], how: str) -> None:
        generator = walker.generator
        if how == "throw":
            with pytest.raises(actors.Left):
                wait_for(lambda: generator.athrow(actors.Left()))
        elif how == "exhaust":
            with pytest.raises(StopAsyncIteration):
                wait_for(lambda: generator.asend("stop"))
        else:
            wait_for(generator.aclose)

    # -- where else code runs --------------------------------------------------

    @rule(
        which=WHICH,
        where=st.sampled_from(["executor", "executor, context copied", "to_thread", "fork"]),
        scope=SCOPE,
    )
    def look_elsewhere(self, which: int, where: str, scope: str) -> None:
        actor = self._one(which)
        look, stack = self.look, self.stacks[actor]
        expected = self.scenery.expected(self.scenery.user, stack)
        if where == "executor":
            seen = actor.do(lambda: self.executor.submit(look)).result(actors.PATIENCE)
            assert seen == self.scenery.expected(self.scenery.user, ())
        elif where == "executor, context copied":
            copied = actor.do(contextvars.copy_context)
            assert self.executor.submit(copied.run, look).result(actors.PATIENCE) == expected
        elif where == "to_thread":
            if isinstance(actor, TaskActor):
                assert actor.wait_for(lambda: asyncio.to_thread(look)) == expected
        elif isinstance(actor, ThreadActor) and hasattr(os, "fork"):
            manager = self.scenery.scopes[scope]

            def child() -> list[Seen]:
                before = look()
                manager.__enter__()  # and never left: the child ends by os._exit
                return [before, look()]

            inner = self.scenery.expected(self.scenery.user, Model.enter(stack, scope))
            assert actor.do(lambda: actors.forked(child)) == [expected, inner]

    # -- what has to hold ------------------------------------------------------

    @invariant()
    def everybody_sees_what_the_model_says(self) -> None:
        for actor, stack in self.stacks.items():
            if actor is not self.acted:
                assert actor.do(self.look) == self.scenery.expected(self.scenery.user, stack)
        assert self.look() == self.scenery.expected(self.scenery.user, ())

    @invariant()
    def all_code_is_answered_by_its_rule(self) -> None:
        actor = self.acted
        if actor in self.stacks:
            looks = self.scenery.askers.items()
            seen = actor.do(lambda: {asker: look() for asker, look in looks})
            stack = self.stacks[actor]
            assert seen == {asker: self.scenery.expected(asker, stack) for asker, _ in looks}

    def teardown(self) -> None:
        for walker in [*self.walkers]:
            self.end(0, self.walkers.index(walker), "close")
        for actor in self.stacks:
            actor.end()
        assert self.look() == self.scenery.expected(self.scenery.user, ())


# Before 3.14 each test has these warnings as errors in all threads.
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_everybody_sees_what_the_rules_say_however_scopes_are_nested(world: World) -> None:
    scenery = Scenery(world)
    loop, end = actors.in_loop()
    with ThreadPoolExecutor(2) as executor:
        machine: Any = functools.partial(Nesting, scenery, loop, executor)
        try:
            run_state_machine_as_test(machine, settings=ENOUGH)
        finally:
            end()
