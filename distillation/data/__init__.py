"""What the stages hand to each other: tensors in safetensors files that say what their numbers are."""
