"""The tables as peewee models, for everything that is not on the hot path. The schema itself is in migrations/."""

from __future__ import annotations

from typing import Any

import peewee

from dicomnode.store.database import proxy


class Table(peewee.Model):
    """The common root: one database, injected when it is opened."""

    class Meta:
        database = proxy
        legacy_table_names = False


class Refusal(Table):
    """One kind of caller that was turned away, and how often."""

    calling_ae_title = peewee.TextField()
    called_ae_title = peewee.TextField()
    address = peewee.TextField()
    why = peewee.TextField()
    times = peewee.IntegerField()
    first_at = peewee.BigIntegerField()
    last_at = peewee.BigIntegerField()
    spki = peewee.TextField()

    class Meta:
        table_name = "refusals"
        primary_key = peewee.CompositeKey("calling_ae_title", "called_ae_title", "address", "why")


class Generation(Table):
    """One configuration that was read: in force from `at` on when it was accepted."""

    at = peewee.BigIntegerField()
    digest = peewee.TextField()
    text = peewee.TextField()
    faults = peewee.TextField()
    accepted = peewee.BooleanField()

    class Meta:
        table_name = "generations"


class Recovery(Table):
    """What one start of the node found."""

    at = peewee.BigIntegerField()
    adopted = peewee.IntegerField()
    parts = peewee.IntegerField()
    missing = peewee.IntegerField()

    class Meta:
        table_name = "recoveries"


def latest(query: Any, limit: int) -> list[Any]:
    """The newest `limit` rows of a model's query as model instances, oldest first."""
    return list(query.order_by(query.model.id.desc()).limit(limit))[::-1]
