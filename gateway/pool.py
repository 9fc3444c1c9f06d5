"""Threads for what blocks: the database and the store. The event loop itself never waits for either."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def run_in(pool: ThreadPoolExecutor, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call `function` in one of the pool's threads and answer what it answers."""
    return await asyncio.get_running_loop().run_in_executor(pool, partial(function, *args, **kwargs))
