"""How a net is run: modes, random streams, votes, precision, fused layers."""
