-- As a number, so that positions of all servers compare.
SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint
