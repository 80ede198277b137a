SELECT
    id, conversation_id, sender_type, content, content_key, content_type, parent_message_id, created_at, metadata,
    token_count
FROM messages
WHERE conversation_id = $1 AND id > $2
ORDER BY id
LIMIT $3
