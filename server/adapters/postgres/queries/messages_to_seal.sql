-- Those under a key nobody here knows are left alone.
SELECT id, user_id, content, content_key, metadata
FROM messages
WHERE id > $1 AND id <= $2
    AND content_key IS DISTINCT FROM $3
    AND (content_key IS NULL OR content_key = ANY ($4))
ORDER BY id
LIMIT $5
FOR NO KEY UPDATE
