"""OpenRouter on loopback: the wire of the real one, with every known way it can misbehave.

Lives here: an HTTP server with control over every byte, what a scripted call does
(`behaviour.py`), what an unscripted one says (`standin.py`), and what each call really sent and cost
(`ledger.py`).
Never lives here: anything of the chat server. The simulator knows OpenRouter's wire and nothing else.

Theory of operation: a request becomes a `Reply` (`chat.py`), a reply becomes a lazy sequence of steps
(`stream.py`, Sans-I/O: bytes, waits, gates, ends), `framing.py` cuts their bytes as asked, and
`player.py` plays them on a connection by one coarse clock that all streams share. What was handed to
the kernel is noted in the ledger, which is the ground truth for tests.

Start with `simulator.py`, then `behaviour.py`; `README.md` is for those who use it from outside.
"""
