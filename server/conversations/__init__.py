"""Conversations: send, regenerate, stop, history, context, titles.

What lives here: the use cases a client's command or a REST call asks for, the port to the database, and
the pure rules of prompts, titles and token counts. What never does: HTTP, sockets, SQL.

Theory of operation. A send is durable before it is acked: one transaction checks ownership and
idempotency and writes message and generation row; then the generation begins. What must happen although
somebody died is found by the custodian in the rows.

Start with `send.py`.
"""
