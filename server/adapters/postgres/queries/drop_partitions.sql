SELECT drop_partitions($1)
