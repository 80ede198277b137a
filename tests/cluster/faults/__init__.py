"""The table of faults."""

from __future__ import annotations

from tests.cluster.faults import clients, nodes, stores, upstream
from tests.cluster.faults.fault import Fault, Scene, on_a_node

__all__ = ["FAULTS", "Fault", "Scene"]

FAULTS: tuple[Fault, ...] = (
    Fault("client cut", clients.cut_clients),
    Fault("client cut at byte n", clients.cut_at_a_byte),
    Fault("client half-open", clients.half_open),
    Fault("reader stopped", clients.stop_reading, holds=(0.3, 2.0), long=(0.5, 6.0)),
    Fault("other node at once", clients.change_nodes),
    Fault("two tabs, one cursor", clients.open_second_tabs),
    Fault("wrong epoch, future offset, foreign ids", clients.forge_positions, resets=True),
    Fault("token ends", clients.let_tokens_end),
    Fault("token revoked", clients.revoke_tokens),
    Fault("proxy cuts when idle", clients.cut_when_idle, holds=(0.5, 1.0), long=(2.0, 4.0)),
    Fault("SIGTERM of the writing node", nodes.terminate_the_writer, holds=(0.0, 0.2)),
    Fault("SIGKILL of the writing node", nodes.kill_the_writer, holds=(0.0, 0.2)),
    Fault("writing node stalls", nodes.freeze_the_writer, holds=(1.0, 2.2), long=(2.0, 2.5)),
    Fault("Redis pub/sub killed again and again", stores.kill_pubsub, holds=(0.5, 0.9), long=(7.0, 7.0)),
    Fault("Redis stopped", stores.freeze_redis, holds=(0.3, 1.2), long=(15.0, 15.0)),
    Fault(
        "Redis restarted with its data", stores.crash_redis, holds=(0.0, 0.5), long=(0.0, 5.0), resets=True
    ),
    Fault("Redis restarted without data", stores.lose_redis, holds=(0.0, 0.5), long=(0.0, 5.0), resets=True),
    Fault("PUBLISH lost", stores.lose_publishes),
    Fault("Redis connections reset", on_a_node(stores.reset_redis), holds=(0.0, 0.1)),
    Fault(
        "writing node cut off from Redis",
        on_a_node(stores.isolate_from_redis),
        holds=(0.3, 1.5),
        long=(2, 15),
    ),
    Fault("writing node refused by Redis", on_a_node(stores.refuse_redis), holds=(0.3, 1.5), long=(2, 15)),
    Fault("PostgreSQL away at accept", stores.unplug_postgres, moment=0.0, long=(2, 6)),
    Fault("PostgreSQL away during", stores.unplug_postgres, long=(2, 6)),
    Fault("PostgreSQL away at the end", stores.unplug_postgres, moment=0.8, holds=(0.5, 1.0), long=(3, 6)),
    Fault("PostgreSQL silent", stores.silence_postgres, holds=(0.3, 1.5), long=(3, 8)),
    Fault("PostgreSQL restarted", stores.crash_postgres, holds=(0.0, 0.5), long=(0, 5)),
    Fault("cut after COMMIT of the question", stores.cut_after_accept, moment=0.0),
    Fault("cut after COMMIT of the answer", stores.cut_after_end, moment=0.1),
    Fault("upstream fails at token 0", upstream.nothing, script=upstream.fails(0.0)),
    Fault("upstream fails in the middle", upstream.nothing, script=upstream.fails(0.5)),
    Fault("upstream fails at the last token", upstream.nothing, script=upstream.fails(1.0)),
    Fault("upstream connections dropped", upstream.drop_upstream),
    Fault("upstream refuses", on_a_node(upstream.refuse_upstream), may_fail=True),
    Fault("upstream half-open", on_a_node(upstream.half_open_upstream), holds=(1.6, 1.8)),
    Fault("latency and jitter everywhere", nodes.slow_everything, moment=0.0, holds=(0.8, 1.2), long=(5, 10)),
    Fault("little bandwidth everywhere", nodes.narrow_everything, moment=0.0, holds=(0.8, 1.2), long=(5, 10)),
)
