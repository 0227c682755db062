"""Statements beside the declared tables: what keeps this program from changing its own log, and the schema's revision.

A fence, not a proof: the tree is what proves.
"""

_STOP = "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
_CHANGES = "UPDATE OR DELETE OR TRUNCATE"
_NEXT = "(SELECT COALESCE(MAX(seq) + 1, 0) FROM audit)"
_BODY = "BEGIN RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = 'integrity_constraint_violation'; END"

FENCES = {
    "sqlite": (
        f"CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit {_STOP}",
        f"CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit {_STOP}",
        # REPLACE fires no delete trigger, hence the third.
        f"CREATE TRIGGER audit_next_only BEFORE INSERT ON audit WHEN NEW.seq <> {_NEXT} {_STOP}",
    ),
    "postgresql": (
        f"CREATE FUNCTION audit_stop() RETURNS trigger LANGUAGE plpgsql AS $$ {_BODY} $$",
        f"CREATE TRIGGER audit_fence BEFORE {_CHANGES} ON audit FOR EACH STATEMENT EXECUTE FUNCTION audit_stop()",
    ),
}
"""Statements by SQLAlchemy's name of the dialect. In PostgreSQL the role of a gate has no right to these changes
anyway, and a gap or a repetition is stopped by the primary key and by the head that every writer holds."""

VERSION_TABLE = (
    "CREATE TABLE alembic_version"
    " (version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
)
"""Where Alembic keeps the schema's revision, as it makes it itself."""
