SELECT id, destination, user_id, conversation_id, kind, payload, attempts
FROM claim_outbox($1, $2)
