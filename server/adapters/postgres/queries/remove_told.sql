-- The oldest $2 of what was told once, and delivered, from before $1; how many there were.
WITH gone AS (
    DELETE FROM outbox
    WHERE id = ANY (ARRAY(
        SELECT id
        FROM outbox
        WHERE id < uuid_floor($1) AND delivered_at IS NOT NULL
        ORDER BY id
        LIMIT $2
        FOR UPDATE SKIP LOCKED
    ))
    RETURNING 1
)
SELECT count(*) FROM gone
