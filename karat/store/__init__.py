"""What remembers: bytes by digest, records with their origin, aliases with history. Takes no torch."""
