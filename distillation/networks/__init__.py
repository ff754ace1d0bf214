"""Networks by name: the ConvNet grammar and the architectures of the papers."""
