"""How long an event takes to where it is seen, from timestamps that are there already: no event costs anything."""
