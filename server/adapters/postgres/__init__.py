"""PostgreSQL behind the conversation store: one query per file, row level security per transaction."""
