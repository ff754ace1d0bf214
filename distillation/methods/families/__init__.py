"""What methods share: their contract, guidance, and the bases of their families."""
