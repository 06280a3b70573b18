"""`python -m adv synthesize`: train a GAN, sample images, measure them."""
