"""Everything that is drawn from nothing: scenes, people, faces, dead leaves."""
