"""Networks by one word: the ConvNet grammar and the architectures of the papers."""
