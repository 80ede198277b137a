SELECT
    id, user_id, title, title_key, context_type, context_data, context_key, status, metadata, created_at, updated_at
FROM conversations
WHERE user_id = $1 AND status = $2 AND status <> 'deleted'
ORDER BY updated_at DESC, id DESC
LIMIT $3 OFFSET $4
