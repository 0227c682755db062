"""How older stores become today's, step by step (Alembic). A step, once released, is never edited."""
