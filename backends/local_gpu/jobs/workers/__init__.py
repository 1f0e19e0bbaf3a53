"""Workers: the processes that train, and how they are started and followed."""
