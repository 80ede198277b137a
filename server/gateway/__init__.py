"""The doors: WebSocket, SSE and REST; who is asking, limits, problems, health.

A door turns a request into a call of a room below and the result into bytes. It decides nothing about
conversations or generations, and never meets an adapter: what it needs is handed in by the roof.

Start with `routes.py`.
"""
