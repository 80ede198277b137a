SELECT delete_conversation($1, $2, $3, $4)
