"""The doors: WebSocket, SSE and REST; who is asking, limits, problems, health.

A door turns a request into a call of a room below and the result into bytes. It decides nothing about
conversations or generations, and never meets an adapter: what it needs is handed in by the roof.

Start with `routes.py`: every path, made of the endpoints (`endpoint.py`) that the files of `rest/` define. A
request goes through `door.py`: let in (`identity.py`), read (`requests.py`), answered, and told what it
counted in. The same definitions make the OpenAPI document (`openapi.py`, with the shapes of `schemas.py`).
"""
