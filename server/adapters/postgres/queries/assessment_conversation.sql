SELECT
    row_to_json(place) AS conversation,
    (
        SELECT row_to_json(g)
        FROM generations AS g
        WHERE g.conversation_id = place.id AND g.reply_to IS NULL
        ORDER BY g.id
        LIMIT 1
    ) AS welcome
FROM assessment_conversations AS a
JOIN conversations AS place ON place.id = a.conversation_id AND place.status <> 'deleted'
WHERE a.user_id = $1 AND a.result_id = $2
