SELECT create_partitions()
