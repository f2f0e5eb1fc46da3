"""How many live runs the line keeps up with on this machine, what breaks beyond that, and how it shows."""
