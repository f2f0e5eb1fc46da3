"""How fast the pages paint, how much memory an hour of live refresh takes, how old a point is when it is drawn."""
