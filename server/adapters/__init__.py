"""The outside world behind the ports of the rooms below: OpenRouter, Redis, PostgreSQL.

Files are named after the port they fulfil. Adapters never import each other and never meet the gateway.
"""
