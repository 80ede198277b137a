-- In one pass: a row per model, a row per day, and the sum. The time of an attempt is its generation's.
SELECT
    CASE WHEN grouping(model_used) = 0 THEN 'model' WHEN grouping(day) = 0 THEN 'day' ELSE 'total' END AS part,
    model_used AS model,
    day,
    count(*) FILTER (WHERE reached) AS requests,
    count(*) FILTER (WHERE reached AND is_free_model) AS free_requests,
    coalesce(sum(prompt_tokens), 0)::bigint AS prompt_tokens,
    coalesce(sum(completion_tokens), 0)::bigint AS completion_tokens,
    coalesce(sum(total_tokens), 0)::bigint AS tokens,
    coalesce(sum(cost_credits), 0) AS cost
FROM (
    SELECT
        uuid_day(id) AS day, model_used, reached, is_free_model, prompt_tokens, completion_tokens, total_tokens,
        cost_credits
    FROM usage_tracking
    WHERE user_id = $1 AND id >= uuid_floor($2) AND id < uuid_floor($3)
) AS attempts
GROUP BY GROUPING SETS ((model_used), (day), ())
HAVING (grouping(model_used) = 1 AND grouping(day) = 1)
    OR bool_or(reached OR total_tokens > 0 OR cost_credits > 0)
ORDER BY day, sum(total_tokens) DESC, model_used
