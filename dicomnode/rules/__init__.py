"""Pure decisions: no disk, no socket, no clock. Each takes what is known and returns what is to be done, and why."""
