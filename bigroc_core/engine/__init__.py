"""How a network is computed: private frozen copies, folding, batches, exact arithmetic."""
