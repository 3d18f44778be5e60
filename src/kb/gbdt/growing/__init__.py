"""Growing a tree: histograms, splits, and the engines that touch rows."""
