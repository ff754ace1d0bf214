"""Teachers: networks that are trained on real images, or imported, and stored together as a pool.

The stage ``teacher`` makes one pool for each key of the section ``teacher`` of params.yaml. ``settings`` reads that
section, ``objectives`` has a module for each way to make a teacher, ``objective`` what these share. ``writing`` puts
all teachers of a pool into one file, which methods, labels and evaluations read through ``pool.Pool``.
``selfsupervised`` is training without labels, ``foreign`` the models of other libraries.
"""
