"""SQLAlchemy's dialect suite: it imports the tests, and pytest finds them here."""

from sqlalchemy.testing.suite import *  # noqa: F403
