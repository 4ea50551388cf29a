"""Every command block of the pages, run as a reader would run it, against one stack that `make run` has started."""
