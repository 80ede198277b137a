"""RabbitMQ behind the ports for events: the consumer calls an `EventHandler`, the publisher is one.

`link.py` keeps a connection alive, whatever happens to the broker; `consumer.py` and `publisher.py` each
have one of their own, since a broker short of memory stops those that publish. `topology.py` says what is
declared. What becomes of a message that could not be handled is decided by `retries.py` and written down
in its headers by `envelope.py`, both Sans-I/O.
"""
