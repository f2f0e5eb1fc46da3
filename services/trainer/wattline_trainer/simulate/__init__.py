"""A simulated fleet: many trainings through the tracker's own code, with invented devices and an invented clock."""
