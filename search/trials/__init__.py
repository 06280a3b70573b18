"""One trial: train a net, validate each epoch, measure it at rungs, score its best epoch."""
