"""PostgreSQL by psycopg 3: plain SQL, rows as frozen dataclasses, one rim that translates foreign errors."""
