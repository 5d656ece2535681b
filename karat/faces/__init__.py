"""Ways in for people and programs. No logic lives here."""
