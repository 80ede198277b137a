UPDATE conversations SET title = $2, title_key = $3, context_data = $4, context_key = $5
WHERE id = $1
