"""A user's channel on this node: the log, the growing texts, and the cursors into them.

What lives here: the broker port (what the shared store promises), the hub (one channel per user
that somebody here reads), growing texts, and catch-up. What never does: sockets, SQL, models.

Theory of operation. The broker is the truth; the hub is a copy kept by pub/sub and mended by
reading whenever a hole is seen. A session is a pair of cursors (an offset in the log, an `at` in
each text); delivering is moving them. Nothing is queued for a session: what it has not been sent
is `log[offset:]` and `text[at:]`.

Start with `broker.py`, then `channel.py`.
"""
