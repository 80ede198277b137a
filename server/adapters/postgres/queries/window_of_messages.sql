-- Where the next so many rows by id end.
SELECT id
FROM (SELECT id FROM messages WHERE id > $1 ORDER BY id LIMIT $2) AS coming
ORDER BY id DESC
LIMIT 1
