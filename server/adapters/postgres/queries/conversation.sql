SELECT
    id, user_id, title, title_key, context_type, context_data, context_key, status, metadata, created_at, updated_at
FROM conversations
WHERE id = $1 AND status <> 'deleted'
