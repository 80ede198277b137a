SELECT find_order($1, $2)
