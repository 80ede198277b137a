-- What is sealed is sealed for its row, so whoever seals has to know the row's id beforehand: the node proposes
-- ids, and is told others where its clock is off or a conversation is ahead of it. What is done leaves an
-- audit entry in the transaction that does it. And conversations change and go.

-- Nothing was released that calls the functions it replaces.
-- squawk-ignore-file ban-drop-function

-- migrate:up

-- The actor and where the call came from; never content.
CREATE FUNCTION note_audit(
    in_actor text, in_origin text, in_action text, in_kind text, in_subject text, in_user uuid
) RETURNS void
LANGUAGE sql VOLATILE
AS $$
    INSERT INTO audit (id, at, actor, action, subject_kind, subject_id, user_id, origin)
    VALUES (uuid_v7(), clock_timestamp(), in_actor, in_action, in_kind, in_subject, in_user, in_origin)
$$;

-- An entry of its own, for what changes no row. It is told to somebody, so it is durable.
CREATE FUNCTION record_audit(
    in_actor text, in_origin text, in_action text, in_kind text, in_subject text, in_user uuid
) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT
AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'on', true);
    PERFORM note_audit(in_actor, in_origin, in_action, in_kind, in_subject, in_user);
END
$$;

-- Like act_for, and whether the user still is. A writer holds this to its commit and erasing takes the same
-- lock alone, so a writer is either before an erasure, which then removes what it wrote, or sees the tombstone.
-- It is taken before any row is locked, as begin_order does: nobody waits in a ring.
CREATE FUNCTION act_for_living(in_user uuid) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT
AS $$
BEGIN
    PERFORM act_for(in_user);
    PERFORM pg_advisory_xact_lock_shared(hashtextextended(in_user::text, 0));
    RETURN NOT EXISTS (SELECT FROM erased_users WHERE user_id = in_user);
END
$$;

-- Whether an id proposed by a node may be used: a UUIDv7 greater than `after`, and of about now.
CREATE FUNCTION may_be_id(proposed uuid, after uuid) RETURNS boolean
LANGUAGE sql VOLATILE
AS $$
    SELECT substr(proposed::text, 15, 1) = '7'
        AND (after IS NULL OR proposed > after)
        AND uuid_ticks(proposed) >= now.ticks - 20480000 -- 5 s
        AND uuid_ticks(proposed) <= greatest(now.ticks, coalesce(uuid_ticks(after), 0)) + 20480000
    FROM (SELECT floor(extract(epoch FROM clock_timestamp()) * 4096000)::bigint AS ticks) AS now
$$;

-- A sealed title travels sealed; whoever delivers the event opens it.
CREATE OR REPLACE FUNCTION conversation_event(place conversations) RETURNS jsonb
LANGUAGE sql STABLE
AS $$
    SELECT jsonb_build_object(
        'id', place.id, 'title', place.title, 'context_type', place.context_type, 'status', place.status,
        'created_at', wire_time(place.created_at), 'updated_at', wire_time(place.updated_at)
    ) || CASE WHEN place.title_key IS NULL THEN '{}' ELSE jsonb_build_object('title_key', place.title_key) END
$$;

DROP FUNCTION accept_message(
    uuid, uuid, uuid, text, text, text, uuid, integer, text, text, text, jsonb, jsonb, integer, integer, integer
);
CREATE FUNCTION accept_message(
    in_user uuid, in_conversation uuid, in_client_message uuid,
    in_content text, in_content_key text, in_content_type text, in_parent uuid, in_token_count integer,
    in_title text, in_title_key text, in_default_title text, in_plan jsonb, in_request jsonb,
    in_max_generations integer, in_history_tokens integer, in_history_messages integer,
    in_actor text, in_origin text, in_new_conversation uuid, in_message uuid
) RETURNS json
LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT
AS $$
DECLARE
    ended json;
    refusal text;
    place conversations;
    question messages;
    answering generations;
    retitled boolean := false;
    follows uuid := in_parent;
BEGIN
    ended := begin_order(in_user, in_client_message);
    IF ended IS NOT NULL THEN
        RETURN ended;
    END IF;

    IF in_conversation IS NOT NULL THEN
        SELECT * INTO place FROM conversations
        WHERE id = in_conversation AND status <> 'deleted'
        FOR NO KEY UPDATE;
        IF NOT FOUND THEN
            RETURN json_build_object('outcome', 'no conversation');
        END IF;
    ELSE
        place.id := coalesce(in_new_conversation, uuid_v7());
        IF in_new_conversation IS NOT NULL AND NOT may_be_id(place.id, NULL) THEN
            place.id := uuid_v7();
            RETURN json_build_object(
                'outcome', 'other ids', 'clock', uuid_v7(),
                'conversation_id', place.id, 'message_id', uuid_v7(place.id)
            );
        END IF;
    END IF;

    IF in_parent IS NOT NULL THEN
        IF NOT EXISTS (SELECT FROM messages WHERE id = in_parent AND conversation_id = place.id) THEN
            RETURN json_build_object('outcome', 'no parent');
        END IF;
    ELSIF in_conversation IS NOT NULL THEN
        -- the newest message: where an answer was made again, its newest sibling
        SELECT id INTO follows FROM messages
        WHERE conversation_id = place.id AND id > place.id AND id <= place.last_message_id
        ORDER BY id DESC
        LIMIT 1;
    END IF;

    refusal := refuse_generation(in_user, place.id, in_max_generations);
    IF refusal IS NOT NULL THEN
        RETURN json_build_object('outcome', refusal);
    END IF;

    question.id := coalesce(in_message, uuid_v7(greatest(place.last_message_id, place.id)));
    IF in_message IS NOT NULL AND NOT may_be_id(in_message, greatest(place.last_message_id, place.id)) THEN
        RETURN json_build_object(
            'outcome', 'other ids', 'clock', uuid_v7(),
            'conversation_id', place.id, 'message_id', uuid_v7(greatest(place.last_message_id, place.id))
        );
    END IF;
    answering.message_id := uuid_v7(question.id);
    IF in_conversation IS NULL THEN
        INSERT INTO conversations (id, user_id, title, title_key, last_message_id)
        VALUES (place.id, in_user, in_title, in_title_key, answering.message_id)
        RETURNING * INTO place;
        PERFORM tell_broker(
            'chat.conversation.created', in_user, place.id,
            jsonb_build_object('contextType', place.context_type)
        );
    ELSE
        retitled := place.title_key IS NULL AND place.title = in_default_title AND in_title <> in_default_title;
        UPDATE conversations SET
            last_message_id = answering.message_id,
            updated_at = greatest(clock_timestamp(), updated_at),
            title = CASE WHEN retitled THEN in_title ELSE title END,
            title_key = CASE WHEN retitled THEN in_title_key ELSE title_key END
        WHERE id = place.id
        RETURNING * INTO place;
    END IF;

    INSERT INTO messages (
        id, conversation_id, user_id, sender_type, content, content_key, content_type, parent_message_id,
        token_count, created_at
    ) VALUES (
        question.id, place.id, in_user, 'user', in_content, in_content_key, in_content_type, follows,
        in_token_count, clock_timestamp()
    )
    RETURNING * INTO question;

    INSERT INTO generations (
        id, user_id, conversation_id, reply_to, message_id, client_message_id, request, plan,
        created_conversation, retitled_conversation
    ) VALUES (
        uuid_v7(), in_user, place.id, question.id, answering.message_id, in_client_message, in_request, in_plan,
        in_conversation IS NULL, retitled
    )
    RETURNING * INTO answering;
    PERFORM note_audit(in_actor, in_origin, 'message.send', 'message', question.id::text, in_user);

    RETURN json_build_object(
        'outcome', 'accepted', 'conversation', row_to_json(place),
        'message', row_to_json(question), 'generation', row_to_json(answering),
        'history', (
            SELECT json_agg(row_to_json(told) ORDER BY told.id)
            FROM branch(question.id, in_history_tokens, in_history_messages) AS told
        )
    );
END
$$;

DROP FUNCTION accept_again(uuid, uuid, uuid, uuid, jsonb, jsonb, integer, integer, integer);
CREATE FUNCTION accept_again(
    in_user uuid, in_message uuid, in_conversation uuid, in_client_message uuid, in_plan jsonb, in_request jsonb,
    in_max_generations integer, in_history_tokens integer, in_history_messages integer,
    in_actor text, in_origin text
) RETURNS json
LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT
AS $$
DECLARE
    ended json;
    refusal text;
    place conversations;
    question messages;
    answering generations;
BEGIN
    ended := begin_order(in_user, in_client_message);
    IF ended IS NOT NULL THEN
        RETURN ended;
    END IF;

    SELECT * INTO question FROM messages WHERE id = in_message;
    IF NOT FOUND OR question.sender_type = 'system' OR question.conversation_id <> in_conversation THEN
        RETURN json_build_object('outcome', 'no message');
    END IF;
    SELECT * INTO place FROM conversations
    WHERE id = question.conversation_id AND status <> 'deleted'
    FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN json_build_object('outcome', 'no conversation');
    END IF;
    IF question.sender_type = 'assistant' THEN
        SELECT * INTO question FROM messages
        WHERE id = question.parent_message_id AND conversation_id = place.id AND sender_type = 'user';
        IF NOT FOUND THEN
            RETURN json_build_object('outcome', 'no parent');
        END IF;
    END IF;

    refusal := refuse_generation(in_user, place.id, in_max_generations);
    IF refusal IS NOT NULL THEN
        RETURN json_build_object('outcome', refusal);
    END IF;

    INSERT INTO generations (
        id, user_id, conversation_id, reply_to, message_id, client_message_id, request, plan
    ) VALUES (
        uuid_v7(), in_user, place.id, question.id, uuid_v7(greatest(place.last_message_id, question.id)),
        in_client_message, in_request, in_plan
    )
    RETURNING * INTO answering;
    UPDATE conversations SET
        last_message_id = answering.message_id,
        updated_at = greatest(clock_timestamp(), updated_at)
    WHERE id = place.id
    RETURNING * INTO place;
    PERFORM note_audit(in_actor, in_origin, 'message.regenerate', 'generation', answering.id::text, in_user);

    RETURN json_build_object(
        'outcome', 'accepted', 'conversation', row_to_json(place),
        'message', row_to_json(question), 'generation', row_to_json(answering),
        'history', (
            SELECT json_agg(row_to_json(told) ORDER BY told.id)
            FROM branch(question.id, in_history_tokens, in_history_messages) AS told
        )
    );
END
$$;

DROP FUNCTION create_conversation(uuid, text, text, text, jsonb, text);
CREATE FUNCTION create_conversation(
    in_user uuid, in_title text, in_title_key text, in_context_type text, in_context_data jsonb,
    in_context_key text, in_actor text, in_origin text, in_id uuid
) RETURNS json
LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT
AS $$
DECLARE
    place conversations;
BEGIN
    IF NOT act_for_living(in_user) THEN
        RETURN json_build_object('outcome', 'no user');
    END IF;
    place.id := coalesce(in_id, uuid_v7());
    IF in_id IS NOT NULL AND NOT may_be_id(in_id, NULL) THEN
        RETURN json_build_object('outcome', 'other ids', 'clock', uuid_v7(), 'conversation_id', uuid_v7());
    END IF;
    INSERT INTO conversations (id, user_id, title, title_key, context_type, context_data, context_key)
    VALUES (place.id, in_user, in_title, in_title_key, in_context_type, in_context_data, in_context_key)
    RETURNING * INTO place;
    INSERT INTO outbox (id, destination, user_id, conversation_id, kind, payload)
    VALUES (
        uuid_v7(), 'channel', in_user, place.id, 'conversation.created',
        jsonb_build_object('type', 'conversation.created', 'conversation', conversation_event(place))
    );
    PERFORM tell_broker(
        'chat.conversation.created', in_user, place.id,
        jsonb_build_object('contextType', place.context_type)
    );
    PERFORM note_audit(in_actor, in_origin, 'conversation.create', 'conversation', place.id::text, in_user);
    RETURN json_build_object('outcome', 'created', 'conversation', row_to_json(place));
END
$$;

CREATE OR REPLACE FUNCTION finish_generation(
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
    IF NOT act_for_living(in_user) THEN
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

-- What is null stays as it is, and where all is nothing is told. The answer is the conversation as it is then.
CREATE FUNCTION update_conversation(
    in_user uuid, in_conversation uuid, in_title text, in_title_key text, in_status text, in_metadata jsonb,
    in_context_type text, in_context_data jsonb, in_context_key text, in_actor text, in_origin text
) RETURNS json
LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT
AS $$
DECLARE
    place conversations;
BEGIN
    IF NOT act_for_living(in_user) THEN
        RETURN json_build_object('outcome', 'no conversation');
    END IF;
    IF num_nonnulls(in_title, in_status, in_metadata, in_context_type, in_context_data) = 0 THEN
        SELECT * INTO place FROM conversations WHERE id = in_conversation AND status <> 'deleted';
        RETURN CASE WHEN FOUND
            THEN json_build_object('outcome', 'updated', 'conversation', row_to_json(place))
            ELSE json_build_object('outcome', 'no conversation') END;
    END IF;
    UPDATE conversations SET
        title = coalesce(in_title, title),
        title_key = CASE WHEN in_title IS NULL THEN title_key ELSE in_title_key END,
        status = coalesce(in_status, status),
        metadata = coalesce(in_metadata, metadata),
        context_type = coalesce(in_context_type, context_type),
        context_data = coalesce(in_context_data, context_data),
        context_key = CASE WHEN in_context_data IS NULL THEN context_key ELSE in_context_key END,
        updated_at = greatest(clock_timestamp(), updated_at)
    WHERE id = in_conversation AND status <> 'deleted'
    RETURNING * INTO place;
    IF NOT FOUND THEN
        RETURN json_build_object('outcome', 'no conversation');
    END IF;
    INSERT INTO outbox (id, destination, user_id, conversation_id, kind, payload)
    VALUES (
        uuid_v7(), 'channel', in_user, place.id, 'conversation.updated',
        jsonb_build_object('type', 'conversation.updated', 'conversation', conversation_event(place))
    );
    PERFORM note_audit(in_actor, in_origin, 'conversation.update', 'conversation', place.id::text, in_user);
    RETURN json_build_object('outcome', 'updated', 'conversation', row_to_json(place));
END
$$;

-- Softly: the rows stay, and nobody finds them. The answer names the generations that run on.
CREATE FUNCTION delete_conversation(
    in_user uuid, in_conversation uuid, in_actor text, in_origin text
) RETURNS json
LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT
AS $$
BEGIN
    IF NOT act_for_living(in_user) THEN
        RETURN json_build_object('outcome', 'no conversation');
    END IF;
    UPDATE conversations SET status = 'deleted', deleted_at = clock_timestamp()
    WHERE id = in_conversation AND status <> 'deleted';
    IF NOT FOUND THEN
        RETURN json_build_object('outcome', 'no conversation');
    END IF;
    INSERT INTO outbox (id, destination, user_id, conversation_id, kind, payload)
    VALUES (
        uuid_v7(), 'channel', in_user, in_conversation, 'conversation.deleted',
        jsonb_build_object(
            'type', 'conversation.deleted', 'conversation', jsonb_build_object('id', in_conversation)
        )
    );
    PERFORM note_audit(
        in_actor, in_origin, 'conversation.delete', 'conversation', in_conversation::text, in_user
    );
    RETURN json_build_object(
        'outcome', 'deleted',
        'running', (
            SELECT coalesce(json_agg(id ORDER BY id), '[]')
            FROM generations
            WHERE conversation_id = in_conversation AND status = 'accepted'
        )
    );
END
$$;

-- migrate:down

DROP FUNCTION delete_conversation(uuid, uuid, text, text);
DROP FUNCTION update_conversation(
    uuid, uuid, text, text, text, jsonb, text, jsonb, text, text, text
);
CREATE OR REPLACE FUNCTION finish_generation(
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

DROP FUNCTION create_conversation(uuid, text, text, text, jsonb, text, text, text, uuid);
CREATE FUNCTION create_conversation(
    in_user uuid, in_title text, in_title_key text, in_context_type text, in_context_data jsonb,
    in_context_key text
) RETURNS json
LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT
AS $$
DECLARE
    place conversations;
BEGIN
    PERFORM act_for(in_user);
    IF EXISTS (SELECT FROM erased_users WHERE user_id = in_user) THEN
        RETURN json_build_object('outcome', 'no user');
    END IF;
    INSERT INTO conversations (id, user_id, title, title_key, context_type, context_data, context_key)
    VALUES (uuid_v7(), in_user, in_title, in_title_key, in_context_type, in_context_data, in_context_key)
    RETURNING * INTO place;
    INSERT INTO outbox (id, destination, user_id, conversation_id, kind, payload)
    VALUES (
        uuid_v7(), 'channel', in_user, place.id, 'conversation.created',
        jsonb_build_object('type', 'conversation.created', 'conversation', conversation_event(place))
    );
    PERFORM tell_broker(
        'chat.conversation.created', in_user, place.id,
        jsonb_build_object('contextType', place.context_type)
    );
    RETURN json_build_object('outcome', 'created', 'conversation', row_to_json(place));
END
$$;

DROP FUNCTION accept_again(uuid, uuid, uuid, uuid, jsonb, jsonb, integer, integer, integer, text, text);
CREATE FUNCTION accept_again(
    in_user uuid, in_message uuid, in_conversation uuid, in_client_message uuid, in_plan jsonb, in_request jsonb,
    in_max_generations integer, in_history_tokens integer, in_history_messages integer
) RETURNS json
LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT
AS $$
DECLARE
    ended json;
    refusal text;
    place conversations;
    question messages;
    answering generations;
BEGIN
    ended := begin_order(in_user, in_client_message);
    IF ended IS NOT NULL THEN
        RETURN ended;
    END IF;

    SELECT * INTO question FROM messages WHERE id = in_message;
    IF NOT FOUND OR question.sender_type = 'system' OR question.conversation_id <> in_conversation THEN
        RETURN json_build_object('outcome', 'no message');
    END IF;
    SELECT * INTO place FROM conversations
    WHERE id = question.conversation_id AND status <> 'deleted'
    FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN json_build_object('outcome', 'no conversation');
    END IF;
    IF question.sender_type = 'assistant' THEN
        SELECT * INTO question FROM messages
        WHERE id = question.parent_message_id AND conversation_id = place.id AND sender_type = 'user';
        IF NOT FOUND THEN
            RETURN json_build_object('outcome', 'no parent');
        END IF;
    END IF;

    refusal := refuse_generation(in_user, place.id, in_max_generations);
    IF refusal IS NOT NULL THEN
        RETURN json_build_object('outcome', refusal);
    END IF;

    INSERT INTO generations (
        id, user_id, conversation_id, reply_to, message_id, client_message_id, request, plan
    ) VALUES (
        uuid_v7(), in_user, place.id, question.id, uuid_v7(greatest(place.last_message_id, question.id)),
        in_client_message, in_request, in_plan
    )
    RETURNING * INTO answering;
    UPDATE conversations SET
        last_message_id = answering.message_id,
        updated_at = greatest(clock_timestamp(), updated_at)
    WHERE id = place.id
    RETURNING * INTO place;

    RETURN json_build_object(
        'outcome', 'accepted', 'conversation', row_to_json(place),
        'message', row_to_json(question), 'generation', row_to_json(answering),
        'history', (
            SELECT json_agg(row_to_json(told) ORDER BY told.id)
            FROM branch(question.id, in_history_tokens, in_history_messages) AS told
        )
    );
END
$$;

DROP FUNCTION accept_message(
    uuid, uuid, uuid, text, text, text, uuid, integer, text, text, text, jsonb, jsonb, integer, integer, integer,
    text, text, uuid, uuid
);
CREATE FUNCTION accept_message(
    in_user uuid, in_conversation uuid, in_client_message uuid,
    in_content text, in_content_key text, in_content_type text, in_parent uuid, in_token_count integer,
    in_title text, in_title_key text, in_default_title text, in_plan jsonb, in_request jsonb,
    in_max_generations integer, in_history_tokens integer, in_history_messages integer
) RETURNS json
LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT
AS $$
DECLARE
    ended json;
    refusal text;
    place conversations;
    question messages;
    answering generations;
    retitled boolean := false;
    follows uuid := in_parent;
BEGIN
    ended := begin_order(in_user, in_client_message);
    IF ended IS NOT NULL THEN
        RETURN ended;
    END IF;

    IF in_conversation IS NOT NULL THEN
        SELECT * INTO place FROM conversations
        WHERE id = in_conversation AND status <> 'deleted'
        FOR NO KEY UPDATE;
        IF NOT FOUND THEN
            RETURN json_build_object('outcome', 'no conversation');
        END IF;
    ELSE
        place.id := uuid_v7();
    END IF;

    IF in_parent IS NOT NULL THEN
        IF NOT EXISTS (SELECT FROM messages WHERE id = in_parent AND conversation_id = place.id) THEN
            RETURN json_build_object('outcome', 'no parent');
        END IF;
    ELSIF in_conversation IS NOT NULL THEN
        -- the newest message: where an answer was made again, its newest sibling
        SELECT id INTO follows FROM messages
        WHERE conversation_id = place.id AND id > place.id AND id <= place.last_message_id
        ORDER BY id DESC
        LIMIT 1;
    END IF;

    refusal := refuse_generation(in_user, place.id, in_max_generations);
    IF refusal IS NOT NULL THEN
        RETURN json_build_object('outcome', refusal);
    END IF;

    question.id := uuid_v7(greatest(place.last_message_id, place.id));
    answering.message_id := uuid_v7(question.id);
    IF in_conversation IS NULL THEN
        INSERT INTO conversations (id, user_id, title, title_key, last_message_id)
        VALUES (place.id, in_user, in_title, in_title_key, answering.message_id)
        RETURNING * INTO place;
        PERFORM tell_broker(
            'chat.conversation.created', in_user, place.id,
            jsonb_build_object('contextType', place.context_type)
        );
    ELSE
        retitled := place.title_key IS NULL AND place.title = in_default_title AND in_title <> in_default_title;
        UPDATE conversations SET
            last_message_id = answering.message_id,
            updated_at = greatest(clock_timestamp(), updated_at),
            title = CASE WHEN retitled THEN in_title ELSE title END,
            title_key = CASE WHEN retitled THEN in_title_key ELSE title_key END
        WHERE id = place.id
        RETURNING * INTO place;
    END IF;

    INSERT INTO messages (
        id, conversation_id, user_id, sender_type, content, content_key, content_type, parent_message_id,
        token_count, created_at
    ) VALUES (
        question.id, place.id, in_user, 'user', in_content, in_content_key, in_content_type, follows,
        in_token_count, clock_timestamp()
    )
    RETURNING * INTO question;

    INSERT INTO generations (
        id, user_id, conversation_id, reply_to, message_id, client_message_id, request, plan,
        created_conversation, retitled_conversation
    ) VALUES (
        uuid_v7(), in_user, place.id, question.id, answering.message_id, in_client_message, in_request, in_plan,
        in_conversation IS NULL, retitled
    )
    RETURNING * INTO answering;

    RETURN json_build_object(
        'outcome', 'accepted', 'conversation', row_to_json(place),
        'message', row_to_json(question), 'generation', row_to_json(answering),
        'history', (
            SELECT json_agg(row_to_json(told) ORDER BY told.id)
            FROM branch(question.id, in_history_tokens, in_history_messages) AS told
        )
    );
END
$$;

CREATE OR REPLACE FUNCTION conversation_event(place conversations) RETURNS jsonb
LANGUAGE sql STABLE
AS $$
    SELECT jsonb_build_object(
        'id', place.id, 'title', place.title, 'context_type', place.context_type, 'status', place.status,
        'created_at', wire_time(place.created_at), 'updated_at', wire_time(place.updated_at)
    )
$$;

DROP FUNCTION may_be_id(uuid, uuid);
DROP FUNCTION act_for_living(uuid);
DROP FUNCTION record_audit(text, text, text, text, text, uuid);
DROP FUNCTION note_audit(text, text, text, text, text, uuid);
