-- Ids and times. UUIDv7 here, since PostgreSQL has its own only from 18 on.
-- The runner puts the schema first in search_path; nothing here names it.

-- migrate:up

-- The time in a UUIDv7, in ticks of 1/4096 ms since 1970: its 48 bits of milliseconds and the 12 bits behind
-- the version (RFC 9562, section 6.2, method 3).
CREATE FUNCTION uuid_ticks(id uuid) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN ('x' || substr(id::text, 1, 8) || substr(id::text, 10, 4) || substr(id::text, 16, 3))::bit(60)::bigint;

-- A UUIDv7 of the database's clock that is greater than `after`, also when the clock went back.
CREATE FUNCTION uuid_v7(after uuid DEFAULT NULL) RETURNS uuid
LANGUAGE plpgsql VOLATILE PARALLEL SAFE SET search_path FROM CURRENT
AS $$
DECLARE
    now_ticks bigint := floor(extract(epoch FROM clock_timestamp()) * 4096000)::bigint;
    ticks bigint := greatest(now_ticks, coalesce(uuid_ticks(after), 0) + 1);
BEGIN
    RETURN (
        lpad(to_hex(ticks >> 12), 12, '0') || '7' || lpad(to_hex(ticks & 4095), 3, '0')
        || substr(gen_random_uuid()::text, 20)
    )::uuid;
END
$$;

-- The least id a UUIDv7 of this moment can have: ranges of ids are ranges of time.
CREATE FUNCTION uuid_floor(at timestamptz) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN (
    lpad(to_hex(floor(extract(epoch FROM at) * 1000)::bigint), 12, '0') || '00000000000000000000'
)::uuid;

-- A usage row's id: the time of its generation, then what only this attempt has. So the same bill written
-- twice meets itself, which no unique constraint of a partitioned table could say, and the bills of a
-- generation stand side by side in one partition.
CREATE FUNCTION usage_id(generation uuid, attempt integer) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN (substr(generation::text, 1, 18) || '8' || substr(md5(generation::text || ':' || attempt), 1, 15))::uuid;

-- A moment as the wire writes it.
CREATE FUNCTION wire_time(at timestamptz) RETURNS text
LANGUAGE sql STABLE STRICT PARALLEL SAFE
RETURN to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"');

-- migrate:down

DROP FUNCTION wire_time(timestamptz);
DROP FUNCTION usage_id(uuid, integer);
DROP FUNCTION uuid_floor(timestamptz);
DROP FUNCTION uuid_v7(uuid);
DROP FUNCTION uuid_ticks(uuid);
