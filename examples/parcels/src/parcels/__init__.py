"""Parcels, as plain data.  pydantic 2.11 or later does the work, whatever the program uses."""

import omnipkg_meta as om

om.pin(__name__, "pydantic>=2.11,<3", install=True)  # before the first import of pydantic

from parcels.parcel import schema, versions, weigh, weigh_later

__all__ = ["schema", "versions", "weigh", "weigh_later"]
