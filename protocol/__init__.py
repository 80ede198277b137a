"""The wire of the ATMA chat server: frames, codec, codes and positions.

What lives here: every frame of protocol version 1 as a typed struct, how they become
bytes and back, the error and close codes, and positions. `README.md` is the wire for
people who write clients; `vectors/` holds a golden example of every frame.

What never does: anything of the server. Clients, load tests and tests import this
package alone.

Start with `frames.py`.
"""
