"""What one trial does: train, watch its epochs, measure it at rungs, score it."""
