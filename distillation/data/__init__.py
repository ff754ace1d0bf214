"""The data that stages exchange: tensors in safetensors files, with a record of what their numbers are."""
