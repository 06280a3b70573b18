"""Finals: retrain the candidates of the front with fresh seeds, and attack them more strongly.

A front read off single noisy values is wrong in two ways: lucky trials enter it, and they look
better than they are (the winner's curse). So the candidates are trained again with fresh seeds, the
values that selected them are left out of the means, and the remaining uncertainty is reported as a
probability of being on the front.
"""
