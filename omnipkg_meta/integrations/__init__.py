"""What other programs load to work with bubbles, one file for each of them.

Nothing here is loaded by ``import omnipkg_meta``.
"""
