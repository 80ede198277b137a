-- The oldest $2 that ended, from before $1; how many there were.
WITH gone AS (
    DELETE FROM generations
    WHERE id = ANY (ARRAY(
        SELECT id
        FROM generations
        WHERE id < uuid_floor($1) AND status <> 'accepted'
        ORDER BY id
        LIMIT $2
        FOR UPDATE SKIP LOCKED
    ))
    RETURNING 1
)
SELECT count(*) FROM gone
