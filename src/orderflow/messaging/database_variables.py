"""
libpq's environment variables, which this system does not read.

The library completes each address from them, without a word: `PGHOSTADDR` of somebody's shell
sends statements to another server than the connection string names, `PGSERVICE` to another
database. So a process takes them out of its environment before it connects; what an address needs
stands in its connection string, which has an option for each of them.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping

# Names alone, without the driver: a command that needs no database starts before it is loaded.
_NAMES = """
PGHOST PGHOSTADDR PGPORT PGDATABASE PGUSER PGPASSWORD PGPASSFILE PGSERVICE PGSERVICEFILE
PGSYSCONFDIR PGTARGETSESSIONATTRS PGLOADBALANCEHOSTS PGOPTIONS PGAPPNAME PGCONNECT_TIMEOUT
PGCLIENTENCODING PGDATESTYLE PGTZ PGGEQO PGREQUIREAUTH PGREQUIREPEER PGREQUIRESSL
PGCHANNELBINDING PGSSLMODE PGSSLNEGOTIATION PGSSLCOMPRESSION PGSSLCERT PGSSLKEY PGSSLCERTMODE
PGSSLROOTCERT PGSSLCRL PGSSLCRLDIR PGSSLSNI PGSSLMINPROTOCOLVERSION PGSSLMAXPROTOCOLVERSION
PGMINPROTOCOLVERSION PGMAXPROTOCOLVERSION PGGSSENCMODE PGGSSLIB PGGSSDELEGATION PGKRBSRVNAME
"""
DATABASE_VARIABLES = frozenset(_NAMES.split())


def forget_database_variables(environment: MutableMapping[str, str] = os.environ) -> list[str]:
    """
    Take libpq's variables out of this process's environment; the names of those that stood there.

    For the first lines of a program: a connection that is open keeps what it was made with, and
    the environment is shared by all threads.
    """
    taken = sorted(DATABASE_VARIABLES & environment.keys())
    for name in taken:
        del environment[name]
    return taken
