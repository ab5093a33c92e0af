"""Anything on the index: two versions of each package that people use, in one process.

    python benchmarks/compat                        every row of packages.tsv
    python -m benchmarks.compat --only numpy        one row

The rows are in ``packages.tsv``.  For each, ``table.py`` finds the newest and an
older version, ``places.py`` makes environments and bubbles and runs programs in
them, and ``rows.py`` does one row after the other: first both versions in plain
environments, which says what works without this library, then side by side.
``judge.py`` says what was wrong, ``report.py`` writes it down.  What runs in the
environments themselves is in ``inside/``, and ``inside/smoke/`` knows what each
package is for.  ``upstream.py`` runs the tests that packages ship.
"""
