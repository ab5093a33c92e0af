"""A program that has a pydantic of its own, and calls libraries that work with others.

Prints, as JSON, which version each of them saw, and what they made of it.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from typing import Any

import attrs
import labels
import parcels
import pydantic
import receipts

import omnipkg_meta as om

ITEMS = [{"name": "tea", "price": "2.50", "count": 2}, {"name": "book", "price": 12}]
THINGS = [{"name": "tea", "grams": 100, "count": 2}, {"name": "book", "grams": 400}]
ADDRESS = {"name": "Ada", "street": "1 Loop Road", "town": "London"}


class Order(pydantic.BaseModel):
    """The program's own model, of the pydantic that is installed."""

    number: int


def everything() -> dict[str, Any]:
    """Call each library once in this thread and once in another one."""
    weighed: list[dict[str, Any]] = []
    with ThreadPoolExecutor(2) as executor:
        totals = [receipts.total(ITEMS), receipts.total_later(ITEMS, executor).result()]
        written = [labels.label(ADDRESS), labels.labels_later([ADDRESS], executor)[0].result()]
    parcels.weigh_later(THINGS, weighed.append).join()
    return {
        "totals": totals,
        "weights": [parcels.weigh(THINGS), *weighed],
        "labels": written,
        "schemas": [sorted(receipts.schema()), sorted(parcels.schema())],
        "fields": labels.fields(),
        "receipts": receipts.versions(),
        "parcels": parcels.versions(),
        "labels' attrs": labels.versions(),
    }


def main() -> None:
    """Do the same outside a scope, and inside one."""
    outside = everything()
    with om.use("pydantic==2.10.*"):
        import pydantic as scoped

        inside = everything()
        in_scope = [scoped.VERSION, metadata.version("pydantic")]
    own = [pydantic.VERSION, metadata.version("pydantic")]
    assert inside == outside, "a library sees the same wherever it is called"
    assert Order.model_validate({"number": "7"}).number == 7
    print(
        json.dumps(
            {
                "own pydantic": own,
                "own attrs": [attrs.__version__, metadata.version("attrs")],
                "pydantic of the scope": in_scope,
                **outside,
            }
        )
    )


if __name__ == "__main__":
    main()
