-- Whether the conversation is there, and whether the message is one of its.
SELECT EXISTS (
    SELECT FROM messages AS m
    WHERE m.id = $2 AND m.conversation_id = place.id
) AS is_here
FROM conversations AS place
WHERE place.id = $1 AND place.status <> 'deleted'
