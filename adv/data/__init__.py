"""Data sets as uint8 tensors: digits, CIFAR, image folders, and images generated in advance."""
