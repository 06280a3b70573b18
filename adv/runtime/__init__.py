"""Running a net: device, mode, random streams, votes, precision and fused layers."""
