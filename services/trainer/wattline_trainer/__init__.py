"""Training jobs that are users of the tracker."""
