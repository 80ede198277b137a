-- The state is the least sure of the attempts', as in usage_of().
SELECT
    message_id,
    sum(prompt_tokens)::bigint AS prompt_tokens,
    sum(completion_tokens)::bigint AS completion_tokens,
    sum(total_tokens)::bigint AS total_tokens,
    sum(cost_credits) AS cost,
    CASE
        WHEN bool_or(state = 'unknown') THEN 'unknown'
        WHEN bool_or(state = 'estimated') THEN 'estimated'
        ELSE 'settled'
    END AS state
FROM usage_tracking
WHERE conversation_id = $1 AND message_id = ANY ($2)
GROUP BY message_id
