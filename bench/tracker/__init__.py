"""What a tracker costs the training that it measures, beside other trackers."""
