UPDATE messages SET content = $2, content_key = $3, metadata = $4 WHERE id = $1
