SELECT ran.version, sums.sha256
FROM {schema}.schema_migrations AS ran
LEFT JOIN {schema}.migration_checksums AS sums USING (version)
