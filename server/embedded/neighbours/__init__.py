"""The chat service's neighbours on loopback: archive, auth, assessment and notification service in one.

Lives here: an HTTP server that answers as the real ones do, with realistic results in all three shapes
the archive has had (`samples.py`), the messages the analysis worker publishes (`worker.py`), every way a
neighbour can misbehave (`faults.py`), and a record of what it was asked (`world.py`).
Never lives here: anything of the chat server. This knows the neighbours' wire and nothing else.

It is also what a machine runs that has no platform around it: with `--data` it keeps what it knows, and
`POST /demo/assessments` (`demo.py`, `finishing.py`) has somebody (`people.py`) finish an assessment, told to
the chat service by the platform's own doors (`doors.py`).

Theory of operation: `http.py` reads requests from a connection, `neighbours.py` notes each one, looks
whether a fault stands in its way, and hands it to the room of the service its path names (`archive.py`,
`auth.py`, `assessment.py`, `notification.py`), which looks at the `World` and answers. The control API
(`control.py`) is for tests that run in another process.

Start with `neighbours.py`, then `faults.py`.
"""
