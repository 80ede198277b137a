"""One streamed answer, from the accepted question to its one end.

What lives here: the machine (what happens next, as a pure function of facts and time), the policy
(which failures are worth another try), the seam (how a continuation joins what was shown), the ports to
models and to the shared store, leases, and the runner that drives one machine. What never does:
sockets, sessions, SQL, HTTP.

Theory of operation. The machine gets facts (`facts.py`) and gives effects (`effects.py`); the runner
carries them out and brings back more facts. The text is appended to the store before anybody sees it.
The attempt number is the fence: whoever holds a lower one cannot write. The end is decided once, by
`seal`, then written down, then published by `conclude`.

Start with `machine.py`.
"""
