UPDATE messages SET content = $2, content_key = $3 WHERE id = $1
