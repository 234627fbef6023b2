"""A monitor from its options to its end: what has to come before its loop and its threads, in this order.

Called by cli.monitor.
"""

from __future__ import annotations

import asyncio
import resource
from contextlib import ExitStack

import click

from scmm_oci.cli.monitor_parts import Monitor, startable
from scmm_oci.cli.monitor_wanted import Wanted, check_apart, rules_of
from scmm_oci.cli.output import OWN
from scmm_oci.enforcer.monitor import control, scraping
from scmm_oci.enforcer.monitor.behalf.deputies import Deputies
from scmm_oci.enforcer.monitor.sockets import Listening
from scmm_oci.kernel import capabilities, identity, notify

# Reading other processes' memory, and ending them; the files of all users are written by who may.
_KEPT = (capabilities.KILL, capabilities.SYS_PTRACE, capabilities.CHOWN, capabilities.DAC_OVERRIDE, capabilities.FOWNER)


def run(wanted: Wanted) -> None:
    """Serve until a signal ends it.

    Raises:
        BadInput, Failure: something of what was asked for cannot be had; nothing was served then.
    """
    notify.check_sizes()
    check_apart(wanted)
    _raise_descriptors()
    rules = rules_of(wanted)
    place = scraping.parse(wanted.metrics) if wanted.metrics is not None else None
    with ExitStack() as stack:
        listening = Listening(wanted.socket)
        stack.callback(listening.close)
        controlling = Listening(control.path_beside(wanted.socket))
        stack.callback(controlling.close)
        deputies = Deputies()
        with startable():
            deputies.start()  # before there is a loop, or a thread
        stack.callback(deputies.close)
        _give_up()
        asyncio.run(Monitor(wanted, rules, place, deputies).serve(listening, controlling))


def _raise_descriptors() -> None:
    """Each listener is a descriptor, and select(2) is nowhere used."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _give_up() -> None:
    """Be a process that others of the same user cannot look into, and root without what only deputies need.

    A process of its own only: whoever calls this from Python keeps what it has.
    """
    context = click.get_current_context(silent=True)
    if context is None or context.obj is not OWN:
        return
    capabilities.keep(_KEPT)
    identity.close_to_others()
