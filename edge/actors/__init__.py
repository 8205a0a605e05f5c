"""The four actors, the channels they talk through, and the supervisor that starts and stops them.

Async ends here: nothing below this floor imports anyio.
"""
