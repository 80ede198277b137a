"""What has to be told: the outbox and its relay, and the stages of the assessment flow.

A row in the outbox is written in the transaction it tells of; the node that committed delivers it at
once, the custodian delivers what is left. Its id is the idempotency key, so telling twice is telling once.
"""
