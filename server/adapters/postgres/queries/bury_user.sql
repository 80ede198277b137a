SELECT bury_user($1, $2, $3)
