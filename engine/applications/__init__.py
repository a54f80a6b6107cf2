"""What a trained run is good for beside plain samples: one file per application (sections 5.1-5.6 of the paper)."""
