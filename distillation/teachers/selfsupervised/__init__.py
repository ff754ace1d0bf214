"""What self-supervised objectives share: views of images, encoders, the loop that trains, and what is measured after it."""
