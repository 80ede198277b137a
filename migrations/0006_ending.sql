-- The end of a generation is written by one call, as often as it is asked for with the same effect: the answer,
-- one usage row per attempt, the generation's row, and what the broker is told.

-- migrate:up

-- The bill of one generation as the wire's `usage`: sums, and the least sure of the states. The bills stand side
-- by side under the generation's own time (see usage_id).
CREATE FUNCTION usage_of(in_generation uuid) RETURNS jsonb
LANGUAGE sql STABLE SET search_path FROM CURRENT
AS $$
    SELECT jsonb_build_object(
        'prompt_tokens', coalesce(sum(prompt_tokens), 0),
        'completion_tokens', coalesce(sum(completion_tokens), 0),
        'total_tokens', coalesce(sum(total_tokens), 0),
        'cost', trim_scale(coalesce(sum(cost_credits), 0))::text,
        'state', CASE
            WHEN bool_or(state = 'unknown') THEN 'unknown'
            WHEN bool_or(state = 'estimated') THEN 'estimated'
            ELSE 'settled'
        END
    )
    FROM usage_tracking
    WHERE generation_id = in_generation
        AND id >= (substr(in_generation::text, 1, 18) || '0000000000000000')::uuid
        AND id <= (substr(in_generation::text, 1, 18) || 'ffffffffffffffff')::uuid
$$;

-- True: the answer is in the conversation (or there was none to write). False: only the bill was kept, since the
-- conversation is gone; or nothing, since the user is.
CREATE FUNCTION finish_generation(
    in_user uuid, in_generation uuid, in_conversation uuid, in_status text, in_finished jsonb,
    in_finished_at timestamptz, in_free_model boolean, in_usage jsonb,
    in_message uuid, in_sender_type text, in_content text, in_content_key text, in_content_type text,
    in_parent uuid, in_created_at timestamptz, in_metadata jsonb, in_token_count integer
) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT
AS $$
DECLARE
    place conversations;
    ending generations;
    alive boolean;
    billed bigint;
BEGIN
    PERFORM act_for(in_user);
    IF EXISTS (SELECT FROM erased_users WHERE user_id = in_user) THEN
        RETURN false;
    END IF;

    -- the conversation before the generation, as in accepting: nobody waits in a ring
    SELECT * INTO place FROM conversations WHERE id = in_conversation FOR NO KEY UPDATE;
    SELECT * INTO ending FROM generations
    WHERE id = in_generation AND conversation_id = in_conversation
    FOR UPDATE;
    IF ending.finished_at IS NOT NULL THEN
        RETURN NOT ending.bill_only;
    END IF;
    alive := place.status <> 'deleted' AND ending.id IS NOT NULL;
    alive := coalesce(alive, false);

    IF alive AND in_message IS NOT NULL THEN
        INSERT INTO messages (
            id, conversation_id, user_id, sender_type, content, content_key, content_type, parent_message_id,
            metadata, token_count, created_at
        ) VALUES (
            in_message, in_conversation, in_user, in_sender_type, in_content, in_content_key, in_content_type,
            in_parent, in_metadata, in_token_count, in_created_at
        )
        ON CONFLICT (id) DO NOTHING;
        UPDATE conversations SET
            last_message_id = greatest(last_message_id, in_message),
            updated_at = greatest(clock_timestamp(), updated_at)
        WHERE id = in_conversation;
    END IF;

    INSERT INTO usage_tracking (
        id, user_id, conversation_id, message_id, generation_id, attempt, model_used, served_model,
        prompt_tokens, completion_tokens, total_tokens, cost_credits, is_free_model, processing_time_ms,
        state, reached, failure, upstream_id, upstream_key, settle_due_at
    )
    SELECT
        usage_id(in_generation, bill.attempt), in_user, place.id, CASE WHEN alive THEN in_message END,
        in_generation, bill.attempt, bill.model, bill.served_model,
        bill.prompt_tokens, bill.completion_tokens, bill.prompt_tokens + bill.completion_tokens, bill.cost,
        bill.is_free_model, bill.processing_time_ms, bill.state, bill.reached, bill.failure,
        bill.upstream_id, bill.key, CASE WHEN bill.due THEN clock_timestamp() END
    FROM jsonb_to_recordset(in_usage) AS bill (
        attempt integer, model text, served_model text, prompt_tokens integer, completion_tokens integer,
        cost numeric, state text, is_free_model boolean, processing_time_ms integer, upstream_id text,
        key text, reached boolean, failure text, due boolean
    )
    ON CONFLICT (id) DO NOTHING;
    GET DIAGNOSTICS billed = ROW_COUNT;

    UPDATE generations SET
        status = in_status, finished_at = in_finished_at, finished = in_finished, bill_only = NOT alive
    WHERE id = ending.id;

    IF alive AND in_message IS NOT NULL THEN
        PERFORM tell_broker(
            'chat.message.completed', in_user, in_conversation,
            jsonb_build_object(
                'messageId', in_message, 'generationId', in_generation, 'status', in_status,
                'isFreeModel', in_free_model
            )
        );
    END IF;
    IF billed > 0 THEN
        PERFORM tell_broker(
            'chat.usage.recorded', in_user, in_conversation,
            jsonb_build_object('generationId', in_generation, 'usage', usage_of(in_generation))
            || CASE WHEN alive AND in_message IS NOT NULL
                THEN jsonb_build_object('messageId', in_message) ELSE '{}' END
        );
    END IF;
    RETURN alive;
END
$$;

-- migrate:down

DROP FUNCTION finish_generation(
    uuid, uuid, uuid, text, jsonb, timestamptz, boolean, jsonb, uuid, text, text, text, text, uuid, timestamptz,
    jsonb, integer
);
DROP FUNCTION usage_of(uuid);
