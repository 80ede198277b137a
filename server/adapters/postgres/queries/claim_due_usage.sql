SELECT id, user_id, generation_id, attempt, upstream_id, upstream_key, settle_tries, created_at
FROM claim_due_usage($1)
