"""Data sets as uint8 tensors: digits, CIFAR, image folders, and images made before training."""
