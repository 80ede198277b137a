SELECT
    g.id, g.user_id, g.conversation_id, g.reply_to, g.message_id, g.client_message_id, g.status, g.request, g.plan,
    g.created_at, g.finished_at, g.finished, answer.content, answer.content_key,
    answer.metadata
FROM generations AS g
JOIN conversations AS place ON place.id = g.conversation_id AND place.status <> 'deleted'
LEFT JOIN messages AS answer ON answer.id = g.message_id
WHERE g.id = $1
