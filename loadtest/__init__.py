"""The load tests: what a token, a session and an accepted message cost, beside a relay without guarantees.

`bench.py` measures streams, `sessions.py` idle sockets, `locustfile.py` walks the plan's stages with users of
every door. `upstream.py` is the model they all ask, `relay.py` the yardstick. Nothing here is a test that can
fail on time; `README.md` has the commands and what each figure means.
"""
