SELECT
    id, user_id, conversation_id, reply_to, message_id, client_message_id, status, request, plan, created_at,
    finished_at, finished
FROM generations
WHERE user_id = $1 AND id > $2
ORDER BY id
LIMIT $3
