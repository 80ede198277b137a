SELECT
    id, user_id, conversation_id, reply_to, message_id, client_message_id, status, request, plan, created_at,
    finished_at, finished
FROM claim_unstarted(make_interval(secs => $1), $2)
