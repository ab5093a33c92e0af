"""Receipts, as plain data.  pydantic 1 does the work, whatever pydantic the program uses."""

import omnipkg_meta as om

om.pin(__name__, "pydantic<2")  # before the first import of pydantic

from receipts.receipt import schema, total, total_later, versions

__all__ = ["schema", "total", "total_later", "versions"]
