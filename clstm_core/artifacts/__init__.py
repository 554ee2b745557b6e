"""What stages hand to each other: folders written whole, sealed manifests that name their parents, hashes of code."""
