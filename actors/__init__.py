"""The messages' entrance. ``dramatiq actors`` is a plain Dramatiq worker: importing this does no I/O."""

import dramatiq

from actors.boot import Boot
from actors.broker import RabbitBroker
from actors.declare import declare_actors
from actors.middleware.correlation import Correlation
from actors.middleware.outcome import Outcome
from actors.middleware.rate_limit import RateLimit
from models.correlation import correlation_of

boot = Boot()
broker = RabbitBroker(
    confirm_delivery=True,
    middleware=[boot, Correlation(correlation_of), Outcome(boot.probe, boot.unexpected), RateLimit(boot.services)],
)
dramatiq.set_broker(broker)
declare_actors(broker, boot.services)
