-- The oldest $2 rows from before $1; how many there were. Named twice, the moment leaves newer months out.
WITH gone AS (
    DELETE FROM messages
    WHERE id < uuid_floor($1)
        AND id = ANY (ARRAY(
            SELECT id FROM messages WHERE id < uuid_floor($1) ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED
        ))
    RETURNING 1
)
SELECT count(*) FROM gone
