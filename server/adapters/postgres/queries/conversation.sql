SELECT id, user_id, title, context_type, context_data, status, metadata, created_at, updated_at
FROM conversations
WHERE id = $1 AND status <> 'deleted'
