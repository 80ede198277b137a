"""The assessment flow: a finished assessment becomes a conversation that knows it."""
