SELECT pg_advisory_unlock(hashtextextended('retention of ' || current_schema(), 0))
