"""What the archive costs and how fast it is, each as a ratio to a baseline measured in the same run (DESIGN section 8)."""
