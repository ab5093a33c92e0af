"""The store of bubbles: one bubble, finding and removing bubbles, building them.

Must not know how a bubble is loaded into a process.
"""
