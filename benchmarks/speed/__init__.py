"""What the hooks cost, as ratios to plain Python measured in the same run.

    python -m benchmarks.speed [--quick] [--only PART] [--ray]
                               [--markdown docs/performance.md] [--json FILE]

Every figure stands beside its reference, taken in turns with it, so that a noisy
machine is noisy for both; and every measured piece of code checks that it saw
the right version.

``places.py`` makes the environments and the store, ``rows.py`` knows what a figure is and
how it is shown.  The others are the parts: ``statements.py`` times small statements with
pyperf, ``first.py`` what happens once in an interpreter, ``memory.py`` what is kept,
``throughput.py`` threads and tasks, ``growth.py`` what grows with many, and ``others.py``
what else gives a program several versions.  What runs in the environments is in ``inside/``.

Needs ``pyperf`` and ``uv`` (the ``dev`` and ``all`` extras) and the package index.
"""
