-- Months of `messages` and `usage_tracking`: a range of ids is a range of time. The functions do the owner's
-- DDL for `chat_system`, which owns nothing.

-- migrate:up

CREATE TABLE messages_default PARTITION OF messages DEFAULT;
CREATE TABLE usage_tracking_default PARTITION OF usage_tracking DEFAULT;
ALTER TABLE messages_default ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE usage_tracking_default ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
-- so that the owner's functions can count what strayed here, and move it
CREATE POLICY stray ON messages_default TO chat_owner USING (true);
CREATE POLICY stray ON usage_tracking_default TO chat_owner USING (true);

-- One month of one table. Rows that strayed into the default partition move into it. False: it was there.
CREATE FUNCTION create_partition(parent text, month date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET lock_timeout = '3s'
AS $$
DECLARE
    first_day date := date_trunc('month', month::timestamp)::date;
    name text := parent || to_char(first_day, '_YYYY_MM');
    low uuid := uuid_floor(first_day::timestamp AT TIME ZONE 'UTC');
    high uuid := uuid_floor((first_day + interval '1 month') AT TIME ZONE 'UTC');
BEGIN
    IF parent NOT IN ('messages', 'usage_tracking') THEN
        RAISE EXCEPTION '% has no partitions', parent USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF to_regclass(quote_ident(name)) IS NOT NULL THEN
        RETURN false;
    END IF;
    -- nothing strays from here on; in the order in which dropping a month takes them
    EXECUTE format('LOCK TABLE ONLY %I IN SHARE UPDATE EXCLUSIVE MODE', parent);
    EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', parent || '_default');
    -- built aside and attached: that holds up readers and writers of the other months less than creating it
    -- in place would
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', name, parent);
    -- strays wait beside it until it is attached: attaching checks what is in it against the conversations, of
    -- which the owner sees none, while a row that is inserted is checked without row security
    EXECUTE format('CREATE TABLE %I (LIKE %I)', name || '_strays', parent);
    EXECUTE format(
        'WITH stray AS (DELETE FROM %I WHERE id >= %L AND id < %L RETURNING *) INSERT INTO %I SELECT * FROM stray',
        parent || '_default', low, high, name || '_strays'
    );
    EXECUTE format(
        'ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, name, low, high
    );
    EXECUTE format('INSERT INTO %I SELECT * FROM %I', name, name || '_strays');
    EXECUTE format('DROP TABLE %I', name || '_strays');
    -- no policy and no grant: named directly, it shows nothing
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', name);
    RETURN true;
END
$$;

-- The months that should be there. Of several nodes that call this at once, one works.
CREATE FUNCTION create_partitions(months_back integer DEFAULT 1, months_ahead integer DEFAULT 3)
RETURNS SETOF text
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $$
DECLARE
    this_month timestamp := date_trunc('month', now() AT TIME ZONE 'UTC');
    parent text;
    month date;
BEGIN
    IF months_back NOT BETWEEN 0 AND 120 OR months_ahead NOT BETWEEN 0 AND 120 THEN
        RAISE EXCEPTION 'between 0 and 120 months' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF NOT pg_try_advisory_xact_lock(hashtextextended('partitions of ' || current_schema(), 0)) THEN
        RETURN;
    END IF;
    FOREACH parent IN ARRAY ARRAY['messages', 'usage_tracking'] LOOP
        FOR step IN -months_back .. months_ahead LOOP
            month := (this_month + make_interval(months => step))::date;
            IF create_partition(parent, month) THEN
                RETURN NEXT parent || to_char(month, '_YYYY_MM');
            END IF;
        END LOOP;
    END LOOP;
END
$$;

-- Drop the months that ended before `before`, with everything in them; their names.
CREATE FUNCTION drop_partitions(before timestamptz) RETURNS SETOF text
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET lock_timeout = '3s'
AS $$
DECLARE
    name text;
BEGIN
    FOR name IN
        SELECT child.relname
        FROM pg_inherits
        JOIN pg_class AS child ON child.oid = pg_inherits.inhrelid
        WHERE pg_inherits.inhparent IN ('messages'::regclass, 'usage_tracking'::regclass)
            AND child.relname ~ '_\d{4}_\d{2}$'
            AND (to_date(right(child.relname, 7), 'YYYY_MM') + interval '1 month') AT TIME ZONE 'UTC' <= before
        ORDER BY child.relname
    LOOP
        EXECUTE format('DROP TABLE %I', name);
        RETURN NEXT name;
    END LOOP;
END
$$;

-- Rows that fell into no month: more than none is a reason for an alert.
CREATE FUNCTION stray_rows() RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT
AS $$
    SELECT (SELECT count(*) FROM messages_default) + (SELECT count(*) FROM usage_tracking_default)
$$;

REVOKE EXECUTE ON FUNCTION create_partition(text, date) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION create_partitions(integer, integer) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION drop_partitions(timestamptz) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION stray_rows() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION create_partitions(integer, integer) TO chat_system;
GRANT EXECUTE ON FUNCTION drop_partitions(timestamptz) TO chat_system;
GRANT EXECUTE ON FUNCTION stray_rows() TO chat_system;

SELECT create_partitions();

-- migrate:down

DROP FUNCTION stray_rows();
SELECT drop_partitions('infinity');
DROP FUNCTION drop_partitions(timestamptz);
DROP FUNCTION create_partitions(integer, integer);
DROP FUNCTION create_partition(text, date);
DROP TABLE usage_tracking_default;
DROP TABLE messages_default;
