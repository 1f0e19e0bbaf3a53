"""Exit statuses and variables between the processes of a job and the process that starts them."""

from typing import Final

STOPPED: Final = 143
"""Exit status after SIGTERM, as in shells."""
AGAIN: Final = 75
"""Exit status of a process that has too little memory: all start again, with smaller batches."""
LOST: Final = 76
"""Exit status of a process that lost another one of the same job."""
RENDEZVOUS: Final = "FTCTL_RENDEZVOUS"
"""Environment variable: file, or address `tcp://HOST:PORT`, where the processes find each other."""
NODE: Final = "FTCTL_NODE"
"""Environment variable: number of this node among those of a job, from 0."""
NODES: Final = "FTCTL_NODES"
"""Environment variable: number of nodes of a job; without it, there is one."""
