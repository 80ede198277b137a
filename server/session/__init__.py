"""One client: its commands in, its frames out, its cursors.

What lives here: the session machine (hello, tokens, floods, heartbeats as a pure function of frames and
time), the cursors that turn a channel into frames, and the pump that writes them. What never does:
WebSocket or SSE (the gateway hands in a transport), SQL, Redis.

Start with `machine.py`, then `pump.py`.
"""
