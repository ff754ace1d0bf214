"""The shared parts of self-supervised objectives: views, encoders, the training loop, and the measures after it."""
