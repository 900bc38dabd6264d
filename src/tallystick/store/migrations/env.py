"""Alembic's environment: the connection is handed in by ``migrations.upgrade``, never made here."""

from alembic import context

from tallystick.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=False,
)
context.run_migrations()
