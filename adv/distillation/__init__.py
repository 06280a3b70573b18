"""Robust distillation: training objectives that imitate a net from a checkpoint, the teacher."""
