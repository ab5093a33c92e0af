"""Labels, as plain data.  attrs 22.2 does the work; it lies in this package's own wheel."""

from pathlib import Path

import omnipkg_meta as om

om.pin(__name__, path=Path(__file__).parent / "_vendor")  # before the first import of attrs

from labels.address import fields, label, labels_later, versions

__all__ = ["fields", "label", "labels_later", "versions"]
