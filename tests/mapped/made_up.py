"""Facts that no process had, for the page: of any size, and with any names."""

from __future__ import annotations

from omnipkg_meta.mapped.facts import (
    Distribution,
    Edge,
    Facts,
    Failure,
    Module,
    Place,
    Run,
    Side,
)

__all__ = ["RUN", "facts_of"]

RUN = Run("app.py --fast", "CPython 3.11.7", 42, "2026-01-02T03:04:05+00:00", "it came to its end")


def facts_of(count: int, *, modules: int = 30) -> Facts:
    """Return the facts of so many bubbles, each of which imports something of the next."""
    main = Side(
        "main",
        "main",
        distributions={"rich": "14.0", "tool": "1"},
        modules=(
            Module("app", "/app/app.py", None, None, None),
            Module("json", "/usr/json.py", ("app", "main"), 0.004, 0.003),
        ),
    )
    sides = [main]
    for number in range(1, count + 1):
        name = f"pkg{number}"
        sides.append(
            Side(
                f"r{number}",
                f"{name}-1.{number}-0a1b2c3d4e5f",
                requested=(f"{name}==1.{number}",),
                terms=("hermetic",) if number % 7 == 0 else (),
                path=f"/store/cp311/{name}-1.{number}-0a1b2c3d4e5f",
                distributions={name: f"1.{number}", "shared-thing": f"2.{number % 5}"},
                provided=(name, "shared_thing"),
                modules=tuple(
                    Module(
                        f"{name}.part{one}",
                        f"/store/{name}/part{one}.py",
                        (name, f"r{number}") if one else ("app", "main"),
                        0.002 * (one + 1),
                        0.001 * ((one * 7 + number) % 11 + 1),
                    )
                    for one in range(modules)
                ),
                size=1_000_000 + 1000 * number,
                alone=400_000,
            )
        )
    edges = [
        Edge("main", "app", f"pkg{one}", (f"pkg{one}",), f"r{one}", "scope", "statement")
        for one in range(1, count + 1)
    ]
    edges += [
        Edge(f"r{one}", f"pkg{one}.part1", "tool", ("tool",), "main", "home", "native")
        for one in range(1, count + 1)
    ]
    return Facts(
        RUN,
        tuple(sides),
        claimed=tuple(f"pkg{one}" for one in range(1, count + 1)),
        recorded=3.5,
        edges=tuple(edges),
        failures=(Failure("r1", "pkg1.part2", "optional", "ModuleNotFoundError"),),
        distributions=(
            Distribution(
                "shared-thing",
                tuple(
                    Place(f"r{one}", f"2.{one % 5}", loaded=one % 2 == 0)
                    for one in range(1, count + 1)
                ),
            ),
        ),
        size=600_000 * count,
    )
