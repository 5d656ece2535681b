"""What everything above agrees on: errors, specs, the registry, events. Takes no torch."""
