"""One way, proved from outside: generated configurations, what each allows by an oracle of its own, and a live node."""
