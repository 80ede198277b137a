SELECT
    id, user_id, title, title_key, context_type, context_data, context_key, status, metadata, created_at, updated_at,
    deleted_at
FROM conversations
WHERE user_id = $1 AND id > $2
ORDER BY id
LIMIT $3
