-- Work that is due because somebody died, or because it is never done at once. Claims skip what another node
-- holds and move the next look into the future, so a claim that comes to nothing is made again. ARRAY makes the
-- choice once: an IN might be carried out again for every row, and then locks more than the limit.

-- migrate:up

-- Generations that were accepted, and that nobody looked at in the last five seconds.
CREATE FUNCTION claim_unstarted(in_older_than interval, in_limit integer) RETURNS SETOF generations
LANGUAGE sql VOLATILE SET search_path FROM CURRENT
AS $$
    UPDATE generations SET looked_at = clock_timestamp()
    WHERE id = ANY (ARRAY(
        SELECT id FROM generations
        WHERE status = 'accepted'
            AND created_at <= clock_timestamp() - in_older_than
            AND (looked_at IS NULL OR looked_at <= clock_timestamp() - interval '5 seconds')
        ORDER BY looked_at NULLS FIRST, created_at
        LIMIT in_limit
        FOR UPDATE SKIP LOCKED
    ))
    RETURNING *
$$;

-- Due rows, in order per stream: a stream is claimed with its oldest undelivered row, or not at all, so what
-- follows a row that is in somebody's hands waits. The next try is 5, 10, 20 ... 300 seconds away.
CREATE FUNCTION claim_outbox(in_destination text, in_limit integer) RETURNS SETOF outbox
LANGUAGE sql VOLATILE SET search_path FROM CURRENT
AS $$
    WITH heads AS (
        SELECT o.stream
        FROM outbox AS o
        WHERE o.destination = in_destination
            AND o.delivered_at IS NULL
            AND o.due_at <= clock_timestamp()
            AND NOT EXISTS (
                SELECT FROM outbox AS older
                WHERE older.destination = o.destination
                    AND older.stream = o.stream
                    AND older.delivered_at IS NULL
                    AND older.id < o.id
            )
        ORDER BY o.due_at
        LIMIT in_limit
        FOR UPDATE SKIP LOCKED
    ),
    batch AS (
        SELECT o.id
        FROM heads
        JOIN outbox AS o
            ON o.destination = in_destination AND o.stream = heads.stream AND o.delivered_at IS NULL
        ORDER BY o.id
        LIMIT in_limit
    ),
    claimed AS (
        UPDATE outbox SET
            attempts = attempts + 1,
            due_at = clock_timestamp() + least(interval '5 seconds' * 2 ^ least(attempts, 6), interval '5 minutes')
        WHERE id = ANY (ARRAY(SELECT batch.id FROM batch))
        RETURNING *
    )
    SELECT * FROM claimed ORDER BY id
$$;

-- Delivered rows go; those that must be told once stay, without what they told.
CREATE FUNCTION outbox_done(in_ids uuid[]) RETURNS void
LANGUAGE sql VOLATILE SET search_path FROM CURRENT
AS $$
    DELETE FROM outbox WHERE id = ANY (in_ids) AND once_key IS NULL;
    UPDATE outbox SET delivered_at = clock_timestamp(), payload = '{}'
    WHERE id = ANY (in_ids) AND delivered_at IS NULL;
$$;

-- Bills to ask for: tries 5, 10, 20 ... 600 seconds apart until an hour has passed. The claim after that hour is
-- the last; it writes `unknown` at once, so that nothing stays open if its claimant dies, and an answer that
-- does come overwrites it.
CREATE FUNCTION claim_due_usage(in_limit integer) RETURNS SETOF usage_tracking
LANGUAGE sql VOLATILE SET search_path FROM CURRENT
AS $$
    UPDATE usage_tracking SET
        settle_tries = settle_tries + 1,
        state = CASE WHEN created_at <= clock_timestamp() - interval '1 hour' THEN 'unknown' ELSE state END,
        settle_due_at = CASE
            WHEN created_at <= clock_timestamp() - interval '1 hour' THEN NULL
            ELSE least(
                clock_timestamp() + least(interval '5 seconds' * 2 ^ least(settle_tries, 7), interval '10 minutes'),
                greatest(created_at + interval '1 hour', clock_timestamp() + interval '5 seconds')
            )
        END
    WHERE id = ANY (ARRAY(
        SELECT id FROM usage_tracking
        WHERE settle_due_at <= clock_timestamp()
        ORDER BY settle_due_at
        LIMIT in_limit
        FOR UPDATE SKIP LOCKED
    ))
    RETURNING *
$$;

-- Write the bill of one attempt; the generation's new sum, or null where there is no such attempt. The first
-- writing tells the user's channel; the end that is kept says the same from then on.
CREATE FUNCTION settle_usage(
    in_id uuid, in_prompt_tokens integer, in_completion_tokens integer, in_cost numeric, in_served_model text
) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT
AS $$
DECLARE
    bill usage_tracking;
    total jsonb;
BEGIN
    -- the house's other work may be lost in a crash and is done again; this is told to somebody
    PERFORM set_config('synchronous_commit', 'on', true);
    SELECT * INTO bill FROM usage_tracking WHERE id = in_id;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    -- two attempts of one generation settle one after the other, so the later sum holds both
    PERFORM FROM generations WHERE id = bill.generation_id FOR UPDATE;
    UPDATE usage_tracking SET
        state = 'settled',
        settle_due_at = NULL,
        prompt_tokens = in_prompt_tokens,
        completion_tokens = in_completion_tokens,
        total_tokens = in_prompt_tokens + in_completion_tokens,
        cost_credits = in_cost,
        served_model = coalesce(in_served_model, served_model)
    WHERE id = in_id AND state <> 'settled'
    RETURNING * INTO bill;
    IF NOT FOUND THEN
        RETURN usage_of((SELECT generation_id FROM usage_tracking WHERE id = in_id));
    END IF;
    total := usage_of(bill.generation_id);

    UPDATE generations SET finished = jsonb_set(
        jsonb_set(finished, '{usage}', total),
        '{segments}',
        coalesce(
            (
                SELECT jsonb_agg(
                    CASE WHEN (segment ->> 'attempt')::integer = bill.attempt
                        THEN segment || jsonb_build_object(
                            'served_model', bill.served_model,
                            'usage', jsonb_build_object(
                                'prompt_tokens', bill.prompt_tokens,
                                'completion_tokens', bill.completion_tokens,
                                'total_tokens', bill.total_tokens,
                                'cost', trim_scale(bill.cost_credits)::text,
                                'state', bill.state
                            )
                        )
                        ELSE segment
                    END
                    ORDER BY place
                )
                FROM jsonb_array_elements(finished -> 'segments') WITH ORDINALITY AS s (segment, place)
            ),
            '[]'
        )
    )
    WHERE id = bill.generation_id AND finished IS NOT NULL;

    INSERT INTO outbox (id, destination, user_id, conversation_id, kind, payload)
    VALUES (
        uuid_v7(), 'channel', bill.user_id, bill.conversation_id, 'usage.settled',
        jsonb_build_object('type', 'usage.settled', 'generation', bill.generation_id, 'usage', total)
    );
    RETURN total;
END
$$;

CREATE FUNCTION give_up_usage(in_id uuid) RETURNS void
LANGUAGE sql VOLATILE SET search_path FROM CURRENT
AS $$
    UPDATE usage_tracking SET state = 'unknown', settle_due_at = NULL
    WHERE id = in_id AND state <> 'settled'
$$;

-- migrate:down

DROP FUNCTION give_up_usage(uuid);
DROP FUNCTION settle_usage(uuid, integer, integer, numeric, text);
DROP FUNCTION claim_due_usage(integer);
DROP FUNCTION outbox_done(uuid[]);
DROP FUNCTION claim_outbox(text, integer);
DROP FUNCTION claim_unstarted(interval, integer);
