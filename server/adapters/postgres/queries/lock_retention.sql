SELECT pg_try_advisory_lock(hashtextextended('retention of ' || current_schema(), 0))
