"""`python -m adv synthesize`: train image generators, sample sets of images, and score them."""
