"""The hooks as a whole: in at the first scope, out on request, and refused where they cannot be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.worlds import world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from tests.worlds import World


def test_emptying_the_table_ends_and_hits_only_what_is_seen(world: World) -> None:
    world.versions("claimed", "1.0", main="0.5")
    world.run(
        """
        import sys, omnipkg_meta as om
        import claimed as main
        with om.use("claimed==1.0"):
            import claimed
            before = dict(sys.modules)
            name, module = sys.modules.popitem()
            assert before.pop(name) is module
            assert dict(sys.modules) == before
            sys.modules.clear()
            assert len(sys.modules) == 0 and not sys.modules and list(sys.modules) == []
            try:
                sys.modules.popitem()
            except KeyError:
                pass
            else:
                raise SystemExit("something was left")
            sys.modules.update(before)
            import claimed as again
            assert again is not claimed and again.__version__ == "1.0"
        assert sys.modules["claimed"] is main
        """
    )


def test_uninstalling_puts_everything_back_and_the_next_scope_puts_it_in_again(
    world: World,
) -> None:
    world.versions("claimed", "1.0", main="0.5")
    world.run(
        """
        import os, sys, importlib._bootstrap as bootstrap, importlib.metadata as metadata
        import claimed as main, omnipkg_meta as om
        finders, locks = list(sys.meta_path), type(bootstrap._module_locks)
        environ, table = type(os.environ), sys.modules

        def check():
            import claimed
            assert claimed is main is sys.modules["claimed"] is dict.get(sys.modules, "claimed")
            assert type(sys.modules) is dict and sys.modules is table
            assert sys.meta_path == finders
            assert type(os.environ) is environ
            assert type(bootstrap._module_locks) is locks
            assert metadata.version("claimed") == "0.5"

        loaded = []
        for _ in range(3):
            check()
            om.uninstall_hooks()
            with om.use("claimed==1.0"):
                import claimed
                loaded.append(claimed)
                assert type(sys.modules) is not dict
                if len(loaded) == 2:
                    om.uninstall_hooks()
                    check()
            om.uninstall_hooks()
            om.uninstall_hooks()
        check()
        assert loaded[0] is loaded[1] is loaded[2] and loaded[0].__version__ == "1.0"
        """
    )


def test_a_table_that_somebody_replaced_is_refused_and_left_alone(world: World) -> None:
    world.versions("claimed", "1.0")
    world.run(
        """
        import sys, omnipkg_meta as om
        from omnipkg_meta.errors import HookError
        from collections import OrderedDict
        om.use, om.Store
        finders = list(sys.meta_path)
        sys.modules = OrderedDict(sys.modules)
        try:
            with om.use("claimed==1.0"):
                raise SystemExit("entered")
        except HookError as error:
            assert "OrderedDict" in str(error), error
        assert type(sys.modules) is OrderedDict and sys.meta_path == finders
        assert om.current() is om.main
        """
    )


def test_entering_leaving_and_importing_leaves_nothing_behind(world: World) -> None:
    world.versions("claimed", "1.0", "2.0", main="0.5")
    world.run(
        """
        import gc, omnipkg_meta as om
        def turn():
            with om.use("claimed==1.0"), om.use("claimed==2.0"):
                import claimed
            import claimed
        for _ in range(100):
            turn()
        gc.collect()
        before = len(gc.get_objects())
        for _ in range(5000):
            turn()
        gc.collect()
        assert len(gc.get_objects()) - before < 50, len(gc.get_objects()) - before
        """
    )


def test_a_thread_that_comes_while_another_puts_the_hooks_in_waits_for_all_of_them(
    world: World,
) -> None:
    world.versions("pkg", "1.0", "2.0", main="3.0")
    done = world.run(
        """
        import threading
        import omnipkg_meta as om
        from omnipkg_meta import finder
        import pkg

        halfway, go_on = threading.Event(), threading.Event()
        install, seen = finder.install, {}

        def hesitate():
            halfway.set()
            go_on.wait(60)
            install()

        finder.install = hesitate

        def enter(version):
            with om.use(f"pkg=={version}"):
                import pkg
                seen[version] = pkg.__version__

        threads = [threading.Thread(target=enter, args=(version,)) for version in ("1.0", "2.0")]
        threads[0].start()
        assert halfway.wait(60)
        threads[1].start()
        threads[1].join(1)  # it would be done by now, if it did not wait
        go_on.set()
        for thread in threads:
            thread.join()
        print(sorted(seen.items()), pkg.__version__)
        """
    )
    assert done.stdout == "[('1.0', '1.0'), ('2.0', '2.0')] 3.0\n"
