"""ATMA's other services behind the ports of the rooms below: archive, auth, assessment, notification.

`neighbour.py` asks: with a deadline over all attempts, jitter between them, and a circuit breaker
(`breaker.py`, Sans-I/O) that keeps a sick neighbour from being asked by everybody. The other files say
what is asked of one service, and what its answers mean; `documents.py` (Sans-I/O) reads their envelope.
"""
