-- Default titles stay plain. Values under a key nobody here knows are left alone.
SELECT id, user_id, title, title_key, context_data, context_key
FROM conversations
WHERE id > $1 AND id <= $2
    AND (
        title_key IS DISTINCT FROM $3 AND (title_key = ANY ($4) OR (title_key IS NULL AND title <> $6))
        OR context_data IS NOT NULL
            AND context_key IS DISTINCT FROM $3 AND (context_key IS NULL OR context_key = ANY ($4))
    )
ORDER BY id
LIMIT $5
FOR NO KEY UPDATE
