SELECT id, at, actor, action, subject_kind, subject_id, origin
FROM audit
WHERE user_id = $1 AND id > $2
ORDER BY id
LIMIT $3
