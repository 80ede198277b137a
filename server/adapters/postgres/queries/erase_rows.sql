SELECT erase_rows($1, $2)
