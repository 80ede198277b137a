"""Doubles and clients that say their trick in their name.

They stand outside the server: they speak the wire, over real sockets, and record what they hear. The
oracle (`tests/oracle.py`) judges the recordings.
"""
