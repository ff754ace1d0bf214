"""Labels that a pool of teachers gives to images."""
