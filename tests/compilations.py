"""Counting what XLA is asked to compile."""

import jax.monitoring

EVENT = "/jax/core/compile/backend_compile_duration"


class Compilations:
    """Counts, inside a `with` block, how often code was handed to the compiler.

    The event is recorded for every request, also one that a persistent cache answers.
    """

    running: list["Compilations"] = []  # noqa: RUF012

    def __enter__(self):
        self.number = 0
        Compilations.running.append(self)
        return self

    def __exit__(self, *_):
        Compilations.running.remove(self)


def _count(event, _seconds, **_):
    if event == EVENT:
        for counter in Compilations.running:
            counter.number += 1


jax.monitoring.register_event_duration_secs_listener(_count)
