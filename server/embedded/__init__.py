"""What a fresh machine runs instead of real services: PostgreSQL, Valkey, an OpenRouter simulator.

They listen on loopback only, keep their data in one directory, and never outlive the process that
started them. Production embeds nothing.
"""
