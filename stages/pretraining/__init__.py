"""Networks pre-trained on a set of images, and what they are worth on other datasets."""
