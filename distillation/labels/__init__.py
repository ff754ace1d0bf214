"""Labels of images by a pool of teachers."""
