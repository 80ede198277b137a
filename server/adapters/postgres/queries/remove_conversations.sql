-- $2 of those that have been quiet since before $1; how many there were. One in which something runs is not.
WITH gone AS (
    DELETE FROM conversations
    WHERE id = ANY (ARRAY(
        SELECT place.id
        FROM conversations AS place
        WHERE place.updated_at < $1
            AND NOT EXISTS (
                SELECT FROM generations AS running
                WHERE running.conversation_id = place.id AND running.status = 'accepted'
            )
        ORDER BY place.updated_at
        LIMIT $2
        FOR UPDATE OF place SKIP LOCKED
    ))
    RETURNING 1
)
SELECT count(*) FROM gone
