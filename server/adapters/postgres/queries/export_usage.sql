SELECT
    id, conversation_id, message_id, generation_id, attempt, model_used, served_model, prompt_tokens,
    completion_tokens, total_tokens, cost_credits, state, created_at
FROM usage_tracking
WHERE user_id = $1 AND id > $2
ORDER BY id
LIMIT $3
