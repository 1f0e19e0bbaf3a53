"""Launchers: schedulers that place the worker of a job on another machine.

Known by name in `table`, and in the entry-point group `ftctl.launchers`. Nothing here imports a
package of a scheduler.
"""
