WITH ran AS (
    INSERT INTO schema_migrations (version) VALUES ($1)
)
INSERT INTO migration_checksums (version, name, sha256) VALUES ($1, $2, $3)
ON CONFLICT (version) DO UPDATE SET name = excluded.name, sha256 = excluded.sha256, applied_at = now()
