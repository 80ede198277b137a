SELECT outbox_done($1)
