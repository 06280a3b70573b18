"""How a net is run: device, mode, random streams, votes, precision and fused layers."""
