SELECT give_up_usage($1)
