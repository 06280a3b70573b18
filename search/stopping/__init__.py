"""Early stopping: two-objective successive halving, and an audit of what it costs."""
