SELECT
    told.id, told.conversation_id, told.sender_type, told.content, told.content_key, told.content_type,
    told.parent_message_id, told.created_at, told.metadata, told.token_count
FROM branch($1, $2, $3) AS told
JOIN conversations AS place ON place.id = told.conversation_id AND place.status <> 'deleted'
ORDER BY told.id
