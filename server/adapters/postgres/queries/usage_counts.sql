-- Messages of both sides, and the conversations that were begun in the period or have a message of it. A message
-- moves its conversation's updated_at (its id may be seconds ahead), so older ones are not looked into.
WITH told AS (
    SELECT place.id, place.id >= uuid_floor($2) AS begun, (
        SELECT count(*)
        FROM messages AS m
        WHERE m.conversation_id = place.id
            AND m.sender_type IN ('user', 'assistant')
            AND m.id >= uuid_floor($2)
            AND m.id < uuid_floor($3)
    ) AS messages
    FROM conversations AS place
    WHERE place.user_id = $1 AND place.updated_at >= $2 - interval '10 seconds' AND place.id < uuid_floor($3)
)
SELECT
    count(*) FILTER (WHERE begun OR messages > 0) AS conversations,
    coalesce(sum(messages), 0)::bigint AS messages
FROM told
