"""What runs and cleans notebooks, fills marked blocks, and builds the web site."""
