"""What a trained run does beside sampling (section 5 of the paper): one module each, all of them streams of frames."""
