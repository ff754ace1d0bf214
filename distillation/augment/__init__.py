"""Changes of whole batches of images on any device, most of them random.

``siamese`` (DSA) and ``adapt`` are differentiable: methods learn images through them. ``standard`` and ``dc`` augment
the images on which networks train, ``views`` the batches that a student shares with its teacher.
"""
