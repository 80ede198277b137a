SELECT link_done($1, $2, $3)
