"""Networks by name, such as ``ConvNetD4W64BN``: the grammar of names (``names``) and the networks (``build``)."""
