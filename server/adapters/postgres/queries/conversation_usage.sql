-- One row per model, the most tokens first; the last row is the sum. Attempts that reached nobody cost nothing.
SELECT
    model_used AS model,
    count(*) FILTER (WHERE reached) AS requests,
    coalesce(sum(prompt_tokens), 0)::bigint AS prompt_tokens,
    coalesce(sum(completion_tokens), 0)::bigint AS completion_tokens,
    coalesce(sum(total_tokens), 0)::bigint AS tokens,
    coalesce(sum(cost_credits), 0) AS cost
FROM usage_tracking
WHERE conversation_id = $1
GROUP BY GROUPING SETS ((model_used), ())
HAVING grouping(model_used) = 1 OR bool_or(reached OR total_tokens > 0 OR cost_credits > 0)
ORDER BY grouping(model_used), sum(total_tokens) DESC, model_used
