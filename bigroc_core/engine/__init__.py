"""How a network is computed: private frozen copies, folding, batches, views, exactness; and the plan of a run."""
