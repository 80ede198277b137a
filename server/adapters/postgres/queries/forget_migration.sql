WITH sums AS (
    DELETE FROM migration_checksums WHERE version = $1
)
DELETE FROM schema_migrations WHERE version = $1
