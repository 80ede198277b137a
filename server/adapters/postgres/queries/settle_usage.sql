SELECT settle_usage($1, $2, $3, $4, $5)
